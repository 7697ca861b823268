import json
import math
from pathlib import Path

import pytest
from hybrid_attention.evaluation.results import picture_path, read_evaluation

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "busi_fold0_128"


def changed(row, **cells):
    return [{**row[0], **cells}, *row[1:]]


def test_a_run_is_read_as_numbers(make_run):
    run = read_evaluation(make_run("discs", error=3, classes=True))
    first = run.cases.iloc[0]
    assert run.name == "discs"
    assert (first["case_id"], first["group"]) == ("benign/benign (0).png", "0")
    assert run.cases["tp"].dtype == int and run.cases["hd95"].dtype == float
    assert run.classes == ["benign", "malignant", "normal"]
    assert run.roc.iloc[-1].tolist()[:2] == [1, 1]
    assert run.recorded("training", "recipe", "epochs") == 3
    assert run.recorded("training", "epoch", "nothing") is None


def test_names(make_run, tmp_path, monkeypatch):
    inner = make_run("net/evaluation")
    assert read_evaluation(inner).name == "net"
    assert read_evaluation(f"My net={inner}").name == "My net"
    monkeypatch.chdir(inner)
    assert read_evaluation(".").name == "net"
    assert read_evaluation(make_run("a=b")).name == "a=b"
    with pytest.raises(ValueError, match="FOLDER or NAME=FOLDER"):
        read_evaluation(f"={inner}")


def test_no_run_there(make_run, tmp_path):
    inner = make_run("net/evaluation")
    with pytest.raises(ValueError, match="no folder"):
        read_evaluation(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"no per_case\.csv.*did you mean .*evaluation"):
        read_evaluation(inner.parent)
    (inner / "summary.json").unlink()
    with pytest.raises(ValueError, match=r"no summary\.json"):
        read_evaluation(inner)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [{k: v for k, v in r.items() if k not in ("jaccard", "tn")} for r in rows],
            "columns jaccard, tn",
        ),
        (lambda rows: [*rows, rows[2]], r"1 case twice, the first: benign/benign \(2\)\.png"),
        (lambda rows: changed(rows, dice="nan"), "dice of .* is nan, but its pixel counts give"),
        (lambda rows: changed(rows, dice="0.5"), "dice of .* is 0.5, but its pixel counts give"),
    ],
)
def test_bad_tables(make_run, edit, change, message):
    folder = edit(make_run("bad", error=3), change)
    with pytest.raises(ValueError, match=message):
        read_evaluation(folder)


def test_a_cell_too_many_and_no_case(make_run):
    folder = make_run("bad")
    text = (folder / "per_case.csv").read_text()
    (folder / "per_case.csv").write_text(text.rstrip() + ",1\n")
    with pytest.raises(ValueError, match=r"per_case\.csv can't be read: .* line 9"):
        read_evaluation(folder)
    (folder / "per_case.csv").write_text(text.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="holds no case"):
        read_evaluation(folder)


def test_distances_are_undefined_where_nothing_is_marked(make_run, edit):
    def emptied(rows):
        pixels = sum(int(rows[0][count]) for count in ("tp", "fp", "fn", "tn"))
        lesion = int(rows[0]["tp"]) + int(rows[0]["fn"])
        scores = {"dice": 0, "f1": 0, "jaccard": 0, "sensitivity": 0, "specificity": 1, "precision": "nan"}
        scores["accuracy"] = 1 - lesion / pixels
        counts = {"tp": 0, "fp": 0, "fn": lesion, "tn": pixels - lesion}
        return changed(rows, **scores, **counts, hd95="nan", asd="nan")

    run = read_evaluation(edit(make_run("empty"), emptied))
    assert math.isnan(run.cases["hd95"][0])
    assert run.summary["lesion_only"]["hd95"]["images"] == run.summary["lesion_cases"] - 1


def test_the_summary_must_be_of_these_cases(make_run):
    folder = make_run("stale")
    record = json.loads((folder / "summary.json").read_text())
    record["pooled"]["jaccard"]["value"] -= 0.01
    (folder / "summary.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"pooled\.jaccard\.value: 0\.99"):
        read_evaluation(folder)


def test_undefined_is_null_and_not_a_number(make_run):
    folder = make_run("stale")
    written = json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)
    written["pooled"]["jaccard"]["value"] = None
    (folder / "summary.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match=r"pooled\.jaccard\.value: None instead of 1\.0"):
        read_evaluation(folder)


@pytest.mark.parametrize(("text", "message"), [("{", "can't be read"), ("{}", "not the record of an evaluation")])
def test_damaged_summary(make_run, text, message):
    folder = make_run("damaged")
    (folder / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_evaluation(folder)


def test_a_curve_of_an_earlier_evaluation_is_not_read(make_run):
    folder = make_run("earlier")
    record = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**record, "pixel_roc": None}))
    run = read_evaluation(folder)
    assert run.roc is None
    assert run.calibration is not None


def test_a_curve_is_read_only_where_its_number_is_defined(make_run, record_edit):
    for auc in (math.nan, None):
        run = read_evaluation(record_edit(make_run(f"alike {auc}"), pixel_roc={"auc": auc, "error_bound": auc}))
        assert run.roc is None


@pytest.mark.parametrize("name", ["han", "unet"])
def test_committed_runs_of_an_older_version(name):
    run = read_evaluation(RESULTS / name)
    assert len(run.cases) == 125
    assert run.classes == [] and run.roc is None
    assert (run.cases["f1"] == run.cases["dice"]).all()


def test_some_cases_are_summarized_anew_without_curves(make_run):
    run = read_evaluation(make_run("a", cases=8))
    some = run.select(run.cases["case_id"][[3, 0]])
    assert some.cases["case_id"].tolist() == ["normal/normal (3).png", "benign/benign (0).png"]
    assert (some.summary["cases"], some.roc, some.recorded("pixel_roc")) == (2, None, None)
    assert run.select(run.cases["case_id"][::-1]).roc is not None


@pytest.mark.parametrize(
    ("case_id", "name"),
    [
        ("benign/benign (1).png", "benign/benign (1).png"),
        ("a/b.v2.jpg", "a/b.v2.png"),
        ("a/b.nii.gz", "a/b.png"),
        ("a/loop.dcm#1", "a/loop#1.png"),
        ("a/loop.dcm#12", "a/loop#12.png"),
        ("a/1.2.3", "a/1.2.3.png"),
    ],
)
def test_each_case_and_frame_has_pictures_of_its_own(case_id, name):
    assert picture_path("out", "masks", case_id) == Path("out/masks") / name


def test_an_older_record_without_balanced_accuracy_is_read(make_run, record_edit):
    folder = make_run("old", classes=True)
    classification = json.loads((folder / "summary.json").read_text())["classification"]
    del classification["balanced_accuracy"]
    assert read_evaluation(record_edit(folder, classification=classification)).classes
