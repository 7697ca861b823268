import pytest
from hybrid_attention.data import DataError, with_class_index

NAMES = ["benign", "malignant", "normal"]


def cases(*classes):
    return [{"case_id": f"{index}.png", "class": name} for index, name in enumerate(classes)]


def test_index_follows_the_order_of_the_names():
    listed = with_class_index(cases("normal", "benign", "malignant"), NAMES)
    assert [case["class_index"] for case in listed] == [2, 0, 1]
    assert [case["class_index"] for case in with_class_index(cases("b", "a"), ["b", "a"])] == [0, 1]


def test_cases_stay_as_they_are():
    own = cases("benign", "normal")
    with_class_index(own, NAMES)
    assert own == cases("benign", "normal")
    assert with_class_index(own, None) == own


def test_all_unknown_and_missing_classes_are_listed():
    own = [*cases("benign", "cyst", ""), {"case_id": "x.png"}]
    with pytest.raises(DataError) as error:
        with_class_index(own, NAMES)
    text = str(error.value)
    assert text.startswith("3 problem(s) in 4 case(s):")
    assert "1.png: class 'cyst' is none of benign, malignant, normal" in text
    assert "2.png: no class" in text and "x.png: no class" in text
    assert "set class_names to None" in text


@pytest.mark.parametrize("names", [[], ["benign"], ["benign", "benign"]])
def test_names_that_tell_nothing_apart(names):
    with pytest.raises(ValueError, match="class_names must be two or more different names"):
        with_class_index(cases("benign"), names)
