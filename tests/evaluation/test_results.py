import json
import math
from pathlib import Path

import pytest
from hybrid_attention.evaluation.results import picture_path, read_evaluation

from tests.evaluation.drawn_runs import change_record, change_rows


def test_a_run_is_read_as_numbers(make_run):
    folder = make_run("discs", error=3, classes=1)
    run = read_evaluation(folder)
    first = run.cases.iloc[0]
    assert (run.name, first["case_id"], first["group"]) == ("discs", "benign/benign (0).png", "0")
    assert run.cases["tp"].dtype == int and run.cases["hd95"].dtype == float
    assert run.classes == ["benign", "malignant", "normal"]
    assert run.roc.iloc[-1].tolist()[:2] == [1, 1]
    assert run.recorded("training", "recipe", "epochs") == 3
    assert run.recorded("training", "epoch", "nothing") is None
    # distances are undefined for empty predictions
    empty = read_evaluation(change_rows(folder, lambda rows: [{**rows[0], "hd95": math.nan}, *rows[1:]]))
    assert math.isnan(empty.cases["hd95"][0])
    assert empty.summary["lesion_only"]["hd95"]["images"] == run.summary["lesion_cases"] - 1


def test_names_and_missing_files(make_run, monkeypatch, tmp_path):
    inner = make_run("net/evaluation")
    assert read_evaluation(inner).name == "net"
    assert read_evaluation(f"My net={inner}").name == "My net"
    monkeypatch.chdir(inner)
    assert read_evaluation(".").name == "net"
    assert read_evaluation(make_run("a=b")).name == "a=b"
    with pytest.raises(ValueError, match="FOLDER or NAME=FOLDER"):
        read_evaluation(f"={inner}")
    with pytest.raises(ValueError, match="nothing"):
        read_evaluation(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"no per_case\.csv.*did you mean .*evaluation"):
        read_evaluation(inner.parent)
    (inner / "summary.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"summary\.json"):
        read_evaluation(inner)
    folder = make_run("bad")
    change_rows(folder, lambda rows: [{name: row[name] for name in ("case_id", "dice")} for row in rows])
    with pytest.raises(ValueError, match=r"no columns class, .*; it has case_id, dice"):
        read_evaluation(folder)


def test_the_summary_must_match_the_cases_and_curves_are_read_where_recorded(make_run):
    folder = make_run("run")
    for recorded in (None, {"auc": None}, {"auc": math.nan}):
        run = read_evaluation(change_record(folder, pixel_roc=recorded))
        assert run.roc is None and run.calibration is not None
    pooled = json.loads((folder / "summary.json").read_text())["pooled"]
    for value in (0.99, None):
        pooled["jaccard"]["value"] = value
        with pytest.raises(ValueError, match=rf"pooled\.jaccard\.value: {value}"):
            read_evaluation(change_record(folder, pooled=pooled))


def test_each_case_and_frame_has_its_own_pictures():
    pictures = {"a/b.v2.jpg": "a/b.v2", "a/b.nii.gz": "a/b", "loop.dcm#12": "loop#12", "1.2.3": "1.2.3"}
    for case_id, name in pictures.items():
        assert picture_path("out", "masks", case_id) == Path(f"out/masks/{name}.png")
