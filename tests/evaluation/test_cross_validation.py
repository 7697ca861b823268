import json
import math
import shutil

import pandas as pd
import pytest
from hybrid_attention.evaluation import merge_folds, read_evaluation, summarize
from hybrid_attention.evaluation.cross_validation import mean_over_folds, scores_by_fold

from tests.evaluation.drawn_runs import change_record, change_rows, write_run


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Three folds of 8, 6 and 4 cases, masks shifted by 1, 2 and 3 pixels; fold 2 has no normal case."""
    folder, settings = tmp_path_factory.mktemp("folds"), {"size": 32, "pictures": False, "classes": 1}
    return [
        write_run(folder / f"fold{fold}", cases, fold + 1.0, fold=fold, normal_every=every, **settings)
        for fold, cases, every in ((0, 8, 4), (1, 6, 4), (2, 4, 0))
    ]


def copied(folder, tmp_path, change=None, **record):
    """Copy a run with other rows or another record."""
    out = shutil.copytree(folder, tmp_path / f"copy of {folder.name}")
    return change_record(change_rows(out, change) if change else out, **record)


def test_all_cases_are_scored_together(folds, tmp_path):
    parts = [read_evaluation(folder) for folder in folds]
    out = merge_folds([folds[2], *folds[:2]], tmp_path)  # in another order
    merged = read_evaluation(out)
    together = pd.concat([part.cases for part in parts], ignore_index=True)
    assert merged.cases["case_id"].tolist() == together["case_id"].tolist()
    assert merged.cases["fold"].tolist() == [0] * 8 + [1] * 6 + [2] * 4
    assert merged.record["cases"] == 18 and merged.record["pooled"] == summarize(together)["pooled"]
    assert merged.record["classification"]["accuracy"]["value"] == 15 / 18  # one wrong in each fold
    text = (out / "summary.md").read_text()
    assert text.startswith("drawn discs, 3 of 3 test folds\n") and "| mean ± sd over folds |" in text

    record = merged.record["folds"]
    assert (record["merged"], record["of"]) == ([0, 1, 2], 3)
    accuracies = [7 / 8, 5 / 6, 3 / 4]
    assert [run["scores"]["class_accuracy"] for run in record["runs"]] == accuracies
    spread = {"mean": pd.Series(accuracies).mean(), "sd": pd.Series(accuracies).std(), "folds": 3}
    assert record["scores"]["class_accuracy"] == pytest.approx(spread)
    assert record["scores"]["class_macro_auc"]["folds"] == 2  # fold 2 has no normal case
    for own, run in zip((part.record for part in parts), record["runs"], strict=True):
        assert run["scores"]["dice_lesion_only"] == pytest.approx(own["lesion_only"]["dice"]["mean"])
        assert run["scores"]["pixel_accuracy_pooled"] == pytest.approx(own["pooled"]["accuracy"]["value"])
        assert run["pixel_auc"] == own["pixel_roc"]["auc"]

    # reliability: the runs give 0.9 where they predict a lesion and 0.1 elsewhere
    tp, fp, fn, tn = together[["tp", "fp", "fn", "tn"]].sum()
    assert merged.calibration["pixels"].tolist() == [fn + tn, tp + fp]
    assert merged.calibration["lesion_fraction"].tolist() == pytest.approx([fn / (fn + tn), tp / (tp + fp)])
    assert merged.calibration["mean_probability"].tolist() == pytest.approx([0.1, 0.9])
    error = (abs(0.1 * (fn + tn) - fn) + abs(0.9 * (tp + fp) - tp)) / (tp + fp + fn + tn)
    assert merged.record["calibration"] == pytest.approx({"ece": error, "bins": 15})
    assert merged.record["pixel_roc"] is None and not (out / "roc.csv").exists()


def test_by_hand():
    rows = [(10, 0, 0, 0, 3), (30, 30, 30, 0, 3), (0, 0, 5, 0, 1)]
    by_fold = scores_by_fold(pd.DataFrame(rows, columns=["tp", "fp", "fn", "tn", "fold"]))
    assert list(by_fold) == [1, 3]
    assert (by_fold[3]["dice_lesion_only"], by_fold[3]["dice_pooled"]) == (0.75, 80 / 140)
    assert "class_accuracy" not in by_fold[3]
    spread = mean_over_folds(by_fold)["dice_lesion_only"]
    assert spread == pytest.approx({"mean": 0.375, "sd": 0.75 / math.sqrt(2), "folds": 2})
    alone = mean_over_folds({3: by_fold[3]})["dice_pooled"]
    assert alone["mean"] == 80 / 140 and math.isnan(alone["sd"])


def test_what_is_missing_and_what_folds_share(folds, tmp_path):
    out = tmp_path / "merged"
    merge_folds(folds, out)
    (out / "roc.csv").write_text("old")
    recipe = {"epochs": 3, "lesions_only": False, "train": {"batch": 8}}
    own = [{"fold": 0}, *({"fold": fold, "train": {"checkpoint": {"initial_weights": "@"}}} for fold in (1, 2))]
    runs = []
    for (fold, folder), one in zip(enumerate(folds), own, strict=True):
        training = {"epoch": 7 + fold, "recipe": {**recipe, **one, "train": {"batch": 8, **one.get("train", {})}}}
        calibration = None if fold == 2 else {"bins": 15, "ece": 0.1}
        runs.append(copied(folder, tmp_path, calibration=calibration, training=training, weights_sha256=f"{fold}"))
    merge_folds(runs, out)
    record = json.loads((out / "summary.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == ["per_case.csv", "summary.json", "summary.md"]
    assert record["calibration"] is None and record["training"] == {"recipe": recipe}
    training = [{"epoch": 7 + fold, "recipe": one} for fold, one in enumerate(own)]
    assert [run["training"] for run in record["folds"]["runs"]] == training
    assert [run["weights_sha256"] for run in record["folds"]["runs"]] == ["0", "1", "2"]
    merge_folds([folds[2], folds[0]], out)
    assert json.loads((out / "summary.json").read_text())["split"].endswith("2 of 3 test folds (incomplete: 0, 2)")


def first_row(**values):
    return lambda rows: [{**rows[0], **values}, *rows[1:]]


@pytest.mark.parametrize(
    ("change", "record", "message"),
    [
        (None, {"part": "validation"}, "the part of the split is 'validation'"),
        (None, {"settings": {"image_size": 64}}, r"settings is \{'image_size': 64\}"),
        (None, {"synthetic_data": True}, "synthetic_data is True, not False"),
        (None, {"distance_unit": "mm"}, "the unit of distances is 'mm', not 'pixel'"),
        (None, {"split": "drawn discs, test fold 1 of 5, validation fold 2"}, "number of folds is 5, not 3"),
        (None, {"split": "other discs, test fold 1 of 3, validation fold 2"}, "the split is 'other discs, fold'"),
        (None, {"split": "drawn discs"}, "got 'drawn discs'"),
        (None, {"split": "drawn discs, test fold 0 of 3"}, "both test fold 0"),
        (None, {"training": {"recipe": {"epochs": 4, "lesions_only": False}}}, "number of epochs is 4, not 3"),
        (None, {"training": {"recipe": {"epochs": 3, "train": {"batch": 4}}}}, "recipe .*: lesions_only, train#batch"),
        (lambda rows: [{**row, "more": 1} for row in rows], {}, r"the list of columns is \["),
        (first_row(group="0"), {}, "the group 0 is in two folds"),
        (first_row(case_id="benign/benign (0).png"), {}, r"the case benign/benign \(0\)"),
        (None, {"folds": {"merged": [0], "of": 2, "runs": []}}, "is already merged"),
    ],
)
def test_what_does_not_belong_together(folds, tmp_path, change, record, message):
    with pytest.raises(ValueError, match=message):
        merge_folds([folds[0], copied(folds[1], tmp_path, change, **record)], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_shared_groups_and_weights(folds, tmp_path):
    split = "random folds, near-duplicates on both sides, test fold {} of 3"  # which says that they share groups
    first = copied(folds[0], tmp_path, split=split.format(0))
    shares = copied(folds[1], tmp_path, first_row(group="0"), split=split.format(1))
    assert len(read_evaluation(merge_folds([first, shares], tmp_path / "merged")).cases) == 14
    with pytest.raises(ValueError, match=r"\(SHA-256\) ab is in two folds"):
        merge_folds([change_record(folder, weights_sha256="ab") for folder in (first, shares)], tmp_path / "merged")
    with pytest.raises(ValueError, match="got 1"):
        merge_folds(folds[:1], "merged")
    with pytest.raises(ValueError, match="is one of the folds"):
        merge_folds(folds, folds[1])
