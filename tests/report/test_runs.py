import json
import math
from pathlib import Path

import pytest
from hybrid_attention.evaluation.stored import _differences
from hybrid_attention.report import read_run
from hybrid_attention.report.runs import require_curves

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "busi_fold0_128"


def changed(row, **cells):
    return [{**row[0], **cells}, *row[1:]]


def test_a_run_is_read_as_numbers(make_run):
    run = read_run(make_run("discs", error=3, classes=True))
    first = run.rows[0]
    assert run.name == "discs"
    assert (first["case_id"], first["group"]) == ("benign/benign (0).png", "0")
    assert isinstance(first["tp"], int) and isinstance(first["hd95"], float)
    assert run.classes == ["benign", "malignant", "normal"]
    assert run.roc[-1] == {"false_positive_rate": 1, "true_positive_rate": 1}
    assert run.recorded("training", "recipe", "epochs") == 3
    assert run.recorded("training", "epoch", "nothing") is None


def test_names(make_run, tmp_path, monkeypatch):
    inner = make_run("net/evaluation")
    assert read_run(inner).name == "net"
    assert read_run(f"My net={inner}").name == "My net"
    monkeypatch.chdir(inner)
    assert read_run(".").name == "net"
    assert read_run(make_run("a=b")).name == "a=b"
    with pytest.raises(ValueError, match="FOLDER or NAME=FOLDER"):
        read_run(f"={inner}")


def test_no_run_there(make_run, tmp_path):
    inner = make_run("net/evaluation")
    with pytest.raises(ValueError, match="no folder"):
        read_run(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"no per_case\.csv.*did you mean .*evaluation"):
        read_run(inner.parent)
    (inner / "summary.json").unlink()
    with pytest.raises(ValueError, match=r"no summary\.json"):
        read_run(inner)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [{k: v for k, v in r.items() if k not in ("jaccard", "tn")} for r in rows],
            "columns jaccard, tn",
        ),
        (lambda rows: [*rows, rows[2]], r"1 case twice, the first: benign/benign \(2\)\.png"),
        (lambda rows: changed(rows, dice="nan"), "dice is nan, but its pixel counts give"),
        (lambda rows: changed(rows, dice="0.5"), "dice is 0.5, but its pixel counts give"),
        (lambda rows: changed(rows, hd95="nan"), "hd95 is nan; truth and mask hold pixels"),
        (lambda rows: changed(rows, asd="-1"), "asd is -1.0"),
        (lambda rows: changed(rows, tp="12.5"), r"line 2: tp is '12\.5'"),
        (lambda rows: changed(rows, tp="-1"), "tp is '-1'"),
    ],
)
def test_bad_tables(make_run, edit, change, message):
    folder = edit(make_run("bad", error=3), change)
    with pytest.raises(ValueError, match=message):
        read_run(folder)


def test_a_cell_too_many_and_no_case(make_run):
    folder = make_run("bad")
    text = (folder / "per_case.csv").read_text()
    (folder / "per_case.csv").write_text(text.rstrip() + ",1\n")
    with pytest.raises(ValueError, match=r"line 9: [0-9]+ cells, but the header has"):
        read_run(folder)
    (folder / "per_case.csv").write_text(text.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="holds no case"):
        read_run(folder)


def test_distances_are_undefined_where_nothing_is_marked(make_run, edit):
    def emptied(rows):
        pixels = sum(int(rows[0][count]) for count in ("tp", "fp", "fn", "tn"))
        lesion = int(rows[0]["tp"]) + int(rows[0]["fn"])
        scores = {"dice": 0, "f1": 0, "jaccard": 0, "sensitivity": 0, "specificity": 1, "precision": "nan"}
        scores["accuracy"] = 1 - lesion / pixels
        counts = {"tp": 0, "fp": 0, "fn": lesion, "tn": pixels - lesion}
        return changed(rows, **scores, **counts, hd95="nan", asd="nan")

    run = read_run(edit(make_run("empty"), emptied))
    assert math.isnan(run.rows[0]["hd95"])
    assert run.summary["lesion_only"]["hd95"]["images"] == run.summary["lesion_cases"] - 1


def test_the_summary_must_be_of_these_cases(make_run):
    folder = make_run("stale")
    record = json.loads((folder / "summary.json").read_text())
    record["pooled"]["jaccard"]["value"] -= 0.01
    (folder / "summary.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"not what per_case\.csv gives \(pooled\.jaccard\.value: 0\.99"):
        read_run(folder)


def test_undefined_is_null_or_in_older_summaries_nan_and_no_number(make_run):
    record, summary = {"a": {"x": None, "y": math.nan}}, {"a": {"x": math.nan, "y": math.nan}}
    assert _differences(summary, record) == _differences(record, summary) == []
    assert _differences(summary, {"a": {"x": 0.5}}) == ["a.x: 0.5 instead of nan"]
    folder = make_run("stale")
    written = json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)
    written["pooled"]["jaccard"]["value"] = None
    (folder / "summary.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match=r"pooled\.jaccard\.value: None instead of 1\.0"):
        read_run(folder)


@pytest.mark.parametrize(("text", "message"), [("{", "can't be read"), ("{}", "whether the data are synthetic")])
def test_damaged_summary(make_run, text, message):
    folder = make_run("damaged")
    (folder / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_run(folder)


def test_a_curve_of_an_earlier_evaluation_is_not_read(make_run):
    folder = make_run("earlier")
    record = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**record, "pixel_roc": None}))
    run = read_run(folder)
    assert run.roc is None
    assert run.calibration


def test_a_curve_is_read_only_where_its_number_is_defined(make_run, record_edit):
    for auc in (math.nan, None):
        run = read_run(record_edit(make_run(f"alike {auc}"), pixel_roc={"auc": auc, "error_bound": auc}))
        assert run.roc is None
        require_curves(run)


@pytest.mark.parametrize(("name", "number"), [("roc", "pixel_roc.auc 1.0"), ("calibration", "calibration.ece 0.")])
def test_a_lost_curve_is_noticed(make_run, name, number):
    folder = make_run("a")
    require_curves(read_run(folder))
    (folder / f"{name}.csv").unlink()
    run = read_run(folder)  # good enough for tables
    with pytest.raises(ValueError, match=rf"a: the curve file .*a/{name}\.csv is gone, .* records {number}"):
        require_curves(run)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"pixel_roc": {"auc": "high"}}, "pixel_roc.auc is 'high', must be a number from 0 to 1"),
        ({"pixel_roc": {"auc": True}}, "pixel_roc.auc is True"),
        ({"pixel_roc": {"auc": 1.5}}, "pixel_roc.auc is 1.5"),
        ({"pixel_roc": {"auc": 1.0, "error_bound": []}}, r"pixel_roc.error_bound is \[\]"),
        ({"pixel_roc": 0.9}, "pixel_roc is 0.9, must be a JSON object or null"),
        ({"calibration": {"ece": "low"}}, "calibration.ece is 'low'"),
        ({"classification": {"accuracy": 0.9}}, "classification.accuracy is 0.9"),
        ({"classification": {"confusion": []}}, "classification.accuracy is None"),
        (
            {"classification": {"accuracy": {"value": "x", "low": 0, "high": 1}}},
            "classification.accuracy.value is 'x', must be",
        ),
        ({"part": ["test"]}, r"part is \['test'\], must be a text or null"),
        ({"training": 3}, "training is 3"),
    ],
)
def test_records_of_the_wrong_type(make_run, record_edit, record, message):
    with pytest.raises(ValueError, match=f"summary.json: {message}"):
        read_run(record_edit(make_run("wrong"), **record))


@pytest.mark.parametrize("name", ["han", "unet"])
def test_committed_runs_of_an_older_version(name):
    run = read_run(RESULTS / name)
    assert len(run.rows) == 125
    assert run.classes == [] and run.roc is None
    assert all(row["f1"] == row["dice"] for row in run.rows)
