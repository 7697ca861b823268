import dataclasses

import pytest
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.report.matched_runs import differences, match_runs

from tests.evaluation.drawn_runs import change_record, change_rows


@pytest.fixture
def runs(make_run):
    return [read_evaluation(make_run("a", error=1)), read_evaluation(make_run("b", error=3))]


def test_cases_are_matched(runs, make_run):
    turned = read_evaluation(change_rows(make_run("turned", error=2), lambda rows: rows[::-1]))
    matched = match_runs([runs[0], turned])  # in the order of the first
    assert matched.runs[1].cases["case_id"].tolist() == matched.runs[0].cases["case_id"].tolist()
    assert matched.left_out == {"a": 0, "turned": 0}
    longer = read_evaluation(make_run("longer", cases=10))
    missing = r"a lacks 2 of the 10 cases of longer \(the first: benign/benign \(8\)\.png\)"
    with pytest.raises(ValueError, match=missing):
        match_runs([runs[0], longer])
    matched = match_runs([longer, runs[0]], intersection=True)
    assert matched.left_out == {"longer": 2, "a": 0}
    assert [run.summary["cases"] for run in matched.runs] == [8, 8]
    assert matched.runs[0].roc is None and matched.runs[1].roc is not None


def test_runs_that_cannot_be_compared(runs, make_run):
    other = read_evaluation(make_run("other"))
    for column, message in (
        ("case_id", "share no case"),
        ("group", "'0' in a, but 'x0' in other"),
        ("class", "'benign' in a, but 'xbenign' in other"),
    ):
        changed = other.cases.assign(**{column: "x" + other.cases[column]})
        with pytest.raises(ValueError, match=message):
            match_runs([runs[0], dataclasses.replace(other, cases=changed)], intersection=True)
    with pytest.raises(ValueError, match="phantoms ran on computed phantoms, a on real images"):
        match_runs([runs[0], read_evaluation(change_record(make_run("phantoms"), synthetic_data=True))])
    with pytest.raises(ValueError, match=r"2 runs are named 'a' .*NAME=FOLDER"):
        match_runs([runs[0], runs[0]])
    with pytest.raises(ValueError, match="'c' to compare with; there are a, b"):
        match_runs(runs, reference="c")
    with pytest.raises(ValueError, match="got 'hd95'"):
        match_runs(runs, score="hd95")


def test_settings_sizes_and_truths_that_differ(make_run, runs):
    recipe = {**runs[1].record["training"]["recipe"], "encoder_weights": None}
    other = dataclasses.replace(runs[1], record={**runs[1].record, "training": {"epoch": 2, "recipe": recipe}})
    assert differences(match_runs([runs[0], other])) == ["encoder weights (a: not recorded; b: none)"]
    small = read_evaluation(make_run("small", size=32))  # the same images have a lesion
    assert differences(match_runs([runs[0], small])) == ["image size (a: 64; small: 32)"]
    cases = runs[0].cases.copy()
    cases.loc[0, ["fn", "tn"]] += [1, -1]  # one more pixel of the truth, which is missed
    (text,) = differences(match_runs([runs[0], dataclasses.replace(runs[0], name="other", cases=cases)]))
    assert "truth of 1 case between a and other (the first: benign/benign (0).png)" in text
