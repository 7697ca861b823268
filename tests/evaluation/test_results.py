import json
import math
from pathlib import Path

import pytest
from hybrid_attention.evaluation.results import picture_path, read_evaluation

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "busi_fold0_128"


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


def test_names(make_run, monkeypatch):
    inner = make_run("net/evaluation")
    assert read_evaluation(inner).name == "net"
    assert read_evaluation(f"My net={inner}").name == "My net"
    monkeypatch.chdir(inner)
    assert read_evaluation(".").name == "net"
    assert read_evaluation(make_run("a=b")).name == "a=b"
    with pytest.raises(ValueError, match="FOLDER or NAME=FOLDER"):
        read_evaluation(f"={inner}")


def test_missing_files_and_columns(make_run, edit, tmp_path):
    inner = make_run("net/evaluation")
    with pytest.raises(ValueError, match="nothing"):
        read_evaluation(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"no per_case\.csv.*did you mean .*evaluation"):
        read_evaluation(inner.parent)
    (inner / "summary.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"summary\.json"):
        read_evaluation(inner)
    keep = ("case_id", "class", "group", "dice")
    folder = edit(make_run("bad"), lambda rows: [{name: row[name] for name in keep} for row in rows])
    with pytest.raises(ValueError, match=r"no columns jaccard, .*; it has case_id, class"):
        read_evaluation(folder)


def test_distances_are_undefined_for_empty_predictions(make_run, edit):
    folder = edit(make_run("empty"), lambda rows: [{**rows[0], "hd95": "nan", "asd": "nan"}, *rows[1:]])
    run = read_evaluation(folder)
    assert math.isnan(run.cases["hd95"][0])
    assert run.summary["lesion_only"]["hd95"]["images"] == run.summary["lesion_cases"] - 1


@pytest.mark.parametrize(
    ("value", "message"), [(0.99, r"pooled\.jaccard\.value: 0\.99"), (None, r"pooled\.jaccard\.value: None")]
)
def test_the_summary_must_match_the_cases(make_run, value, message):
    folder = make_run("stale")
    record = json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)
    record["pooled"]["jaccard"]["value"] = value
    (folder / "summary.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=message):
        read_evaluation(folder)


@pytest.mark.parametrize("recorded", [None, {"auc": None}, {"auc": math.nan}])
def test_a_curve_that_is_not_recorded_is_not_read(make_run, record_edit, recorded):
    run = read_evaluation(record_edit(make_run("earlier"), pixel_roc=recorded))
    assert run.roc is None and run.calibration is not None


@pytest.mark.parametrize("name", ["han", "unet"])
def test_committed_runs_of_an_older_version(name):
    run = read_evaluation(RESULTS / name)
    assert len(run.cases) == 125
    assert run.classes == [] and run.roc is None
    assert (run.cases["f1"] == run.cases["dice"]).all()


def test_selected_cases_have_a_new_summary_and_no_curves(make_run):
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
        ("a/loop.dcm#12", "a/loop#12.png"),
        ("a/1.2.3", "a/1.2.3.png"),
    ],
)
def test_each_case_and_frame_has_its_own_pictures(case_id, name):
    assert picture_path("out", "masks", case_id) == Path("out/masks") / name
