import pytest
from hybrid_attention.data import OnDemand, busi_datalist, split_cases, with_class_index


def test_a_chain_runs_once_and_late(phantoms):
    asked = []
    folder = OnDemand(lambda name: asked.append(name) or phantoms, "folder")
    cases = busi_datalist(folder)
    labelled = with_class_index(cases, ["benign", "malignant", "normal"])
    split = split_cases(labelled, fold=1)
    assert asked == []
    expected = split_cases(busi_datalist(phantoms), fold=1)
    assert [case["case_id"] for case in split.train] == [case["case_id"] for case in expected.train]
    assert split.part("test") is split.test and split.rule == expected.rule
    assert len(cases) == len(labelled) and cases[0]["case_id"] == labelled[0]["case_id"]
    assert asked == ["folder"]


def test_what_is_not_there():
    with pytest.raises(AttributeError, match="no_such_part"):
        assert OnDemand(list).no_such_part
    with pytest.raises(AttributeError, match="__array__"):
        assert OnDemand(list).__array__
