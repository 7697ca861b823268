import pytest
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.report.matching import match_runs


@pytest.fixture
def runs(make_run):
    return [read_evaluation(make_run("a", error=1)), read_evaluation(make_run("b", error=3))]


def test_rows_stand_in_the_order_of_the_first_run(runs, make_run, edit):
    turned = read_evaluation(edit(make_run("turned", error=2), lambda rows: rows[::-1]))
    matched = match_runs([runs[0], turned])
    assert matched.runs[1].cases["case_id"].tolist() == matched.runs[0].cases["case_id"].tolist()
    assert matched.left_out == {"a": 0, "turned": 0}


def test_other_cases_are_an_error_that_names_them(runs, make_run):
    longer = read_evaluation(make_run("longer", cases=10))
    with pytest.raises(
        ValueError, match=r"a lacks 2 of the 10 cases of longer \(the first: benign/benign \(8\)\.png\)"
    ):
        match_runs([runs[0], longer])
    with pytest.raises(ValueError, match="--intersection compares the 8 cases"):
        match_runs([longer, *runs])


def test_intersection_is_summarized_anew_and_loses_its_curves(runs, make_run):
    longer = read_evaluation(make_run("longer", cases=10))
    matched = match_runs([longer, runs[0]], intersection=True)
    assert matched.left_out == {"longer": 2, "a": 0}
    assert [run.summary["cases"] for run in matched.runs] == [8, 8]
    assert matched.runs[0].roc is None and matched.runs[0].recorded("pixel_roc") is None
    assert matched.runs[1].roc is not None


def test_no_shared_case(runs, make_run, edit):
    other = read_evaluation(
        edit(make_run("other"), lambda rows: [{**row, "case_id": "x" + row["case_id"]} for row in rows])
    )
    with pytest.raises(ValueError, match="share no case"):
        match_runs([runs[0], other], intersection=True)


@pytest.mark.parametrize(
    ("fact", "message"), [("group", "'0' in a, but 'x' in other"), ("class", "'benign' in a, but 'x' in other")]
)
def test_facts_on_a_case_must_agree(runs, make_run, edit, fact, message):
    other = read_evaluation(edit(make_run("other"), lambda rows: [{**rows[0], fact: "x"}, *rows[1:]]))
    with pytest.raises(ValueError, match=message):
        match_runs([runs[0], other])


def test_synthetic_and_real_data_never_mix(runs, make_run):
    with pytest.raises(ValueError, match="phantoms ran on computed phantoms, a on real images"):
        match_runs([runs[0], read_evaluation(make_run("phantoms", synthetic=True))])


def test_names_must_differ(runs):
    with pytest.raises(ValueError, match=r"2 runs are named 'a' .*NAME=FOLDER"):
        match_runs([runs[0], runs[0]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"reference": "c"}, "no run named 'c' to compare with; there are a, b"), ({"score": "hd95"}, "got 'hd95'")],
)
def test_settings_must_exist(runs, settings, message):
    with pytest.raises(ValueError, match=message):
        match_runs(runs, **settings)


def test_nothing_to_report():
    with pytest.raises(ValueError, match="no run"):
        match_runs([])
