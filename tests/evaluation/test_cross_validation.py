import json
import math

import pandas as pd
import pytest
from hybrid_attention.evaluation import classification_scores, merge_folds, summarize
from hybrid_attention.evaluation.cross_validation import mean_over_folds, scores_by_fold
from hybrid_attention.evaluation.metrics.roc_and_calibration import PixelCalibration
from hybrid_attention.evaluation.results import read_evaluation

from tests.evaluation.drawn_runs import CLASSES, read_rows, write_rows, write_run


def three_runs(folder, classes):
    """Three folds of 8, 6 and 4 cases, masks shifted by 1, 2 and 3 pixels; in fold 2 there is no normal case."""
    settings = {"size": 32, "pictures": False, "classes": classes}
    return [
        write_run(folder / f"fold{fold}", cases, fold + 1.0, fold=fold, normal_every=every, **settings)
        for fold, cases, every in ((0, 8, 4), (1, 6, 4), (2, 4, 0))
    ]


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    return three_runs(tmp_path_factory.mktemp("folds"), False)


@pytest.fixture(scope="module")
def class_folds(tmp_path_factory):
    return three_runs(tmp_path_factory.mktemp("class_folds"), True)


@pytest.fixture(scope="module")
def merged_classes(class_folds, tmp_path_factory):
    """The same folds in another order, merged."""
    return merge_folds([class_folds[2], *class_folds[:2]], tmp_path_factory.mktemp("merged"))


def copied(folder, tmp_path, change=None, **record):
    """Copy a run with other columns or another record."""
    out = tmp_path / f"copy of {folder.name}"
    out.mkdir()
    rows = read_rows(folder / "per_case.csv")
    write_rows(out / "per_case.csv", change(rows) if change else rows)
    old = json.loads((folder / "summary.json").read_text())
    if change:
        old = {key: old[key] for key in ("synthetic_data", "split", "part", "settings", "distance_unit", "training")}
    (out / "summary.json").write_text(json.dumps({**old, **record}))
    return out


def test_all_cases_are_scored_together(class_folds, merged_classes):
    merged, parts = read_evaluation(merged_classes), [read_evaluation(folder) for folder in class_folds]
    assert merged.cases["case_id"].tolist() == [case for part in parts for case in part.cases["case_id"]]
    assert merged.cases["fold"].tolist() == [0] * 8 + [1] * 6 + [2] * 4
    together = pd.concat([part.cases for part in parts], ignore_index=True)
    assert merged.record["cases"] == 18
    assert merged.record["pooled"] == summarize(together)["pooled"]
    shares = together[[f"probability_{name}" for name in CLASSES]].to_numpy()
    truth, groups = together["class"].tolist(), together["group"].tolist()
    assert merged.record["classification"] == classification_scores(truth, shares, CLASSES, groups)
    assert merged.record["classification"]["accuracy"]["value"] == 15 / 18  # one wrong in each fold
    assert merged.record["split"] == "drawn discs, 3 of 3 test folds"
    text = (merged_classes / "summary.md").read_text()
    assert text.startswith("drawn discs, 3 of 3 test folds\n")
    assert "| mean ± sd over folds |" in text


def test_scores_of_folds(class_folds, merged_classes):
    record = read_evaluation(merged_classes).record["folds"]
    assert (record["merged"], record["of"]) == ([0, 1, 2], 3)
    accuracies = [7 / 8, 5 / 6, 3 / 4]
    assert [run["scores"]["class_accuracy"] for run in record["runs"]] == accuracies
    mean = sum(accuracies) / 3
    sd = math.sqrt(sum((value - mean) ** 2 for value in accuracies) / 2)
    spread = record["scores"]["class_accuracy"]
    assert (spread["mean"], spread["sd"], spread["folds"]) == pytest.approx((mean, sd, 3))
    assert record["scores"]["class_macro_auc"]["folds"] == 2  # fold 2 has no normal case
    for folder, run in zip(class_folds, record["runs"], strict=True):
        own = json.loads((folder / "summary.json").read_text())
        assert run["scores"]["dice_lesion_only"] == pytest.approx(own["lesion_only"]["dice"]["mean"])
        assert run["scores"]["dice_pooled"] == pytest.approx(own["pooled"]["dice"]["value"])
        assert run["scores"]["pixel_accuracy_pooled"] == pytest.approx(own["pooled"]["accuracy"]["value"])
        assert run["pixel_auc"] == own["pixel_roc"]["auc"]


def test_by_hand():
    counts = [(10, 0, 0), (30, 30, 30), (0, 0, 5)]
    rows = [
        {"tp": tp, "fp": fp, "fn": fn, "tn": 0, "fold": fold}
        for (tp, fp, fn), fold in zip(counts, (3, 3, 1), strict=True)
    ]
    by_fold = scores_by_fold(pd.DataFrame(rows))
    assert list(by_fold) == [1, 3]
    assert by_fold[3]["dice_lesion_only"] == 0.75
    assert by_fold[3]["dice_pooled"] == 80 / 140
    assert "class_accuracy" not in by_fold[3]
    spread = mean_over_folds(by_fold)["dice_lesion_only"]
    assert spread == pytest.approx({"mean": 0.375, "sd": 0.75 / math.sqrt(2), "folds": 2})
    alone = mean_over_folds({3: by_fold[3]})["dice_pooled"]
    assert alone["mean"] == 80 / 140 and math.isnan(alone["sd"])


def test_reliability_is_that_of_all_pixels(folds, tmp_path):
    out = merge_folds(folds, tmp_path / "merged")
    bins = pd.read_csv(out / "calibration.csv")
    # the runs give 0.9 where they predict a lesion and 0.1 elsewhere
    total = sum(read_evaluation(folder).cases[["tp", "fp", "fn", "tn"]].sum() for folder in folds)
    predicted, truth = total["tp"] + total["fp"], total["tp"] / (total["tp"] + total["fp"])
    assert bins["pixels"].tolist() == [total["fn"] + total["tn"], predicted]
    assert bins["lesion_fraction"][1] == pytest.approx(truth)
    assert bins["mean_probability"].tolist() == pytest.approx([0.1, 0.9])
    share = total["fn"] / (total["fn"] + total["tn"])
    error = (abs(0.1 - share) * (total["fn"] + total["tn"]) + abs(0.9 - truth) * predicted) / total.sum()
    record = json.loads((out / "summary.json").read_text())
    assert record["calibration"] == pytest.approx({"ece": error, "bins": len(PixelCalibration().pixels)})
    assert record["pixel_roc"] is None and not (out / "roc.csv").exists()


def test_a_curve_that_a_fold_lacks_is_left_out(folds, tmp_path):
    out = tmp_path / "merged"
    merge_folds(folds, out)
    (out / "roc.csv").write_text("old")
    merge_folds([*folds[:2], copied(folds[2], tmp_path, calibration=None)], out)
    assert sorted(path.name for path in out.iterdir()) == ["per_case.csv", "summary.json", "summary.md"]
    assert json.loads((out / "summary.json").read_text())["calibration"] is None
    merge_folds([folds[2], folds[0]], out)
    assert json.loads((out / "summary.json").read_text())["split"].endswith("2 of 3 test folds (incomplete: 0, 2)")


def test_what_folds_share_and_what_not(folds, tmp_path):
    recipe = {"epochs": 3, "lesions_only": False, "train": {"batch": 8, "checkpoint": {}}}
    own = [{"fold": 0}, *({"fold": fold, "train": {"checkpoint": {"initial_weights": "@"}}} for fold in (1, 2))]
    runs = [
        copied(
            folder,
            tmp_path,
            training={
                "epoch": 7 + fold,
                "recipe": {**recipe, "fold": fold, "train": {"batch": 8, **own[fold].get("train", {"checkpoint": {}})}},
            },
            weights_sha256=f"{fold}",
        )
        for fold, folder in enumerate(folds)
    ]
    record = read_evaluation(merge_folds(runs, tmp_path / "merged")).record
    assert record["training"] == {"recipe": recipe}
    assert [run["training"] for run in record["folds"]["runs"]] == [
        {"epoch": 7 + fold, "recipe": own[fold]} for fold in range(3)
    ]
    assert [run["weights_sha256"] for run in record["folds"]["runs"]] == ["0", "1", "2"]
    assert record["provenance"]["commit"] == "c0ffee" * 6


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
        (lambda rows: [{**row, "predicted_class": "benign"} for row in rows], {}, r"the list of columns is \["),
        (lambda rows: [{**rows[0], "group": "0"}, *rows[1:]], {}, "the group 0 is in two folds"),
        (
            lambda rows: [{**rows[0], "case_id": "benign/benign (0).png"}, *rows[1:]],
            {},
            r"the case benign/benign \(0\)",
        ),
        (None, {"folds": {"merged": [0], "of": 2, "runs": []}}, "is already merged"),
    ],
)
def test_what_does_not_belong_together(folds, tmp_path, change, record, message):
    other = copied(folds[1], tmp_path, change, **record)
    with pytest.raises(ValueError, match=message):
        merge_folds([folds[0], other], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_random_folds_share_groups(folds, tmp_path):
    """Of a split that says so."""
    split = "random folds, near-duplicates on both sides, test fold {} of 3"
    first = copied(folds[0], tmp_path, split=split.format(0))
    shares = copied(folds[1], tmp_path, lambda rows: [{**rows[0], "group": "0"}, *rows[1:]], split=split.format(1))
    merge_folds([first, shares], tmp_path / "merged")
    assert (tmp_path / "merged" / "per_case.csv").is_file()


def test_other_bad_folds(folds, tmp_path):
    runs = [copied(folder, tmp_path, weights_sha256="ab") for folder in folds]
    with pytest.raises(ValueError, match=r"\(SHA-256\) ab is in two folds"):
        merge_folds(runs, tmp_path / "merged")
    with pytest.raises(ValueError, match="got 1"):
        merge_folds(folds[:1], "merged")
    with pytest.raises(ValueError, match="is one of the folds"):
        merge_folds(folds, folds[1])
