import pytest
from hybrid_attention.data import DataError, OnDemand, busi_datalist, split_cases
from hybrid_attention.data.cases import check_training_cases, with_class_index

CASE = {"image": "a.png", "label": "labels/final/a.png"}
NAMES = ["benign", "malignant", "normal"]


def test_too_few_and_unclassified_cases_are_refused():
    check_training_cases([CASE, CASE], [CASE])
    for training, validation in ((0, 0), (1, 0), (2, 0), (1, 1)):
        with pytest.raises(ValueError, match=f"{training} images to train on and {validation} to validate on are too"):
            check_training_cases([CASE] * training, [CASE] * validation)
    known = {**CASE, "class_index": 0}
    check_training_cases([known, known], [known], NAMES)
    with pytest.raises(ValueError, match=r"2 images have no class \(the first: a.png\).*class_names to null"):
        check_training_cases([CASE, known], [CASE], NAMES)


def cases(*classes):
    return [{"case_id": f"{index}.png", "class": name} for index, name in enumerate(classes)]


def test_class_index():
    own = cases("normal", "benign", "malignant")
    for names, expected in ((NAMES, [2, 0, 1]), (NAMES[::-1], [0, 2, 1])):
        assert [case["class_index"] for case in with_class_index(own, names)] == expected
    assert own == cases("normal", "benign", "malignant") == with_class_index(own, None)
    faulty = [*cases("benign", "cyst", ""), {"case_id": "x.png"}]
    listed = "(?s)3 problem.* in 4 .*1.png: class 'cyst' is not one of benign.*2.png: class ''.*x.png: class ''"
    with pytest.raises(DataError, match=listed):
        with_class_index(faulty, NAMES)
    for names in ([], ["benign"], ["benign", "benign"]):
        with pytest.raises(ValueError, match="class_names must be two or more different names"):
            with_class_index(own, names)


def test_a_chain_runs_once_and_late(phantoms, caplog):
    asked = []
    folder = OnDemand(lambda name: asked.append(name) or phantoms, "folder")
    cases = busi_datalist(folder)
    labelled = with_class_index(cases, NAMES)
    split = split_cases(labelled, fold=1)
    assert asked == []
    expected = split_cases(busi_datalist(phantoms), fold=1)
    assert [case["case_id"] for case in split.train] == [case["case_id"] for case in expected.train]
    assert split.part("test") is split.test and split.rule == expected.rule
    assert len(cases) == len(labelled) and cases[0]["case_id"] == labelled[0]["case_id"]
    assert asked == ["folder"]
    assert all(case["synthetic"] for case in cases) and "SYNTHETIC DATA" in caplog.text
    assert not hasattr(OnDemand(list), "__array__")
