import dataclasses

import pytest
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.report.matched_runs import differences, match_runs


@pytest.fixture
def runs(make_run):
    return [read_evaluation(make_run("a", error=1)), read_evaluation(make_run("b", error=3))]


def test_rows_are_in_the_order_of_the_first_run(runs, make_run, edit):
    turned = read_evaluation(edit(make_run("turned", error=2), lambda rows: rows[::-1]))
    matched = match_runs([runs[0], turned])
    assert matched.runs[1].cases["case_id"].tolist() == matched.runs[0].cases["case_id"].tolist()
    assert matched.left_out == {"a": 0, "turned": 0}


def test_cases_that_differ(runs, make_run, edit):
    longer = read_evaluation(make_run("longer", cases=10))
    missing = r"a lacks 2 of the 10 cases of longer \(the first: benign/benign \(8\)\.png\)"
    with pytest.raises(ValueError, match=missing):
        match_runs([runs[0], longer])
    with pytest.raises(ValueError, match="--intersection compares the 8 cases"):
        match_runs([longer, *runs])
    matched = match_runs([longer, runs[0]], intersection=True)
    assert matched.left_out == {"longer": 2, "a": 0}
    assert [run.summary["cases"] for run in matched.runs] == [8, 8]
    assert matched.runs[0].roc is None and matched.runs[0].recorded("pixel_roc") is None
    assert matched.runs[1].roc is not None
    folder = edit(make_run("other"), lambda rows: [{**row, "case_id": "x" + row["case_id"]} for row in rows])
    with pytest.raises(ValueError, match="share no case"):
        match_runs([runs[0], read_evaluation(folder)], intersection=True)


@pytest.mark.parametrize(
    ("fact", "message"), [("group", "'0' in a, but 'x' in other"), ("class", "'benign' in a, but 'x' in other")]
)
def test_group_and_class_of_a_case_must_agree(runs, make_run, edit, fact, message):
    other = read_evaluation(edit(make_run("other"), lambda rows: [{**rows[0], fact: "x"}, *rows[1:]]))
    with pytest.raises(ValueError, match=message):
        match_runs([runs[0], other])


def test_runs_that_cannot_be_compared(runs, make_run):
    with pytest.raises(ValueError, match="phantoms ran on computed phantoms, a on real images"):
        match_runs([runs[0], read_evaluation(make_run("phantoms", synthetic=True))])
    with pytest.raises(ValueError, match=r"2 runs are named 'a' .*NAME=FOLDER"):
        match_runs([runs[0], runs[0]])
    with pytest.raises(ValueError, match="'c' to compare with; there are a, b"):
        match_runs(runs, reference="c")
    with pytest.raises(ValueError, match="got 'hd95'"):
        match_runs(runs, score="hd95")


def test_none_is_not_the_same_as_not_recorded(runs):
    training = runs[1].record["training"]
    recipe = {**training["recipe"], "encoder_weights": None}
    runs[1] = dataclasses.replace(runs[1], record={**runs[1].record, "training": {**training, "recipe": recipe}})
    assert differences(match_runs(runs)) == ["encoder weights (a: not recorded; b: none)"]


def test_image_sizes_and_truths_that_differ(make_run):
    run, small = read_evaluation(make_run("a")), read_evaluation(make_run("small", size=32))
    assert differences(match_runs([run, small])) == ["image size (a: 64; small: 32)"]  # the same images have a lesion
    cases = run.cases.copy()
    cases.loc[0, ["fn", "tn"]] += [1, -1]  # one more pixel of the truth, which is missed
    other = dataclasses.replace(run, name="other", cases=cases)
    (text,) = differences(match_runs([run, other]))
    assert "truth of 1 case between a and other (the first: benign/benign (0).png)" in text
