"""Cross-validation: merge the evaluations of the test folds, and score each fold."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from hybrid_attention.data.splits import LEAKING
from hybrid_attention.data.writing import prepare_output_folder
from hybrid_attention.engines.training_record import provenance, trained_epochs
from hybrid_attention.evaluation.metrics.classification import (
    class_points,
    class_probabilities,
    class_summary,
    predicted_classes,
)
from hybrid_attention.evaluation.metrics.roc_and_calibration import PixelCalibration
from hybrid_attention.evaluation.metrics.segmentation import COUNTS, overlap_scores
from hybrid_attention.evaluation.results import Evaluation, read_evaluation, write_evaluation, write_table
from hybrid_attention.evaluation.summary import FOLD_SCORES, scores_by_convention, summarize

# the fold in the description of a split
_FOLD = re.compile(r"test fold (\d+) of (\d+)(?:, validation fold \d+)?")
# settings that may differ between the folds; the last repeats `initial_weights` and is missing in older runs
_FREE = ("fold", "seed", "train#checkpoint#initial_weights")
_FIRST = ["case_id", "class", "group", "fold"]

logger = logging.getLogger(__name__)


def merge_folds(folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Path:
    """Merge the evaluations of the test folds of a cross-validation into one evaluation.

    All scores are computed again over all cases. In `summary.json`, `folds` holds the scores and the provenance of each
    fold, and mean and standard deviation over folds, as reported in papers; `per_case.csv` has the column `fold`. If
    folds are missing, the split says so. The reliability curve is merged from the bins if all folds have it; ROC curves
    can't be merged exactly and are left out. Pictures are not copied.

    Args:
        folders: evaluations of at least two test folds, each with the weights trained for this fold.
        out: folder of the merged evaluation, different from `folders`.

    Raises:
        ValueError: an evaluation is damaged, its split has no test fold, or the evaluations don't match: they share a
            case, group, fold or weight file, or differ in part, settings, recipe, columns, units or data.
    """
    if len(folders) < 2:
        raise ValueError(f"merging needs at least two folds, got {len(folders)}")
    target = Path(out)
    if target.resolve() in [Path(folder).resolve() for folder in folders]:
        raise ValueError(f"{target} is one of the folds; choose another output folder")
    runs = _by_fold([read_evaluation(folder) for folder in folders])
    _check_alike(list(runs.values()))
    _check_disjoint(list(runs.values()))
    cases = pd.concat([run.cases.assign(fold=fold) for fold, run in runs.items()], ignore_index=True)
    cases = cases[[*_FIRST, *(name for name in cases if name not in _FIRST)]]
    records, part = [run.record for run in runs.values()], next(iter(runs.values())).part
    digests, calibration = [record.get("data_sha256") for record in records], _merged_calibration(list(runs.values()))
    summary = {
        "synthetic_data": records[0]["synthetic_data"],
        "split": _FOLD.sub(lambda fold: merged_count(list(runs), int(fold[2]), f"{part} folds"), records[0]["split"]),
        "part": part,
        **{key: records[0].get(key) for key in ("settings", "decision", "score_size")},
        **summarize(cases),
        "distance_unit": records[0].get("distance_unit"),
        "pixel_roc": None,
        "calibration": calibration and {"ece": calibration.expected_error(), "bins": len(calibration.pixels)},
        "classification": class_summary(cases),
        "data_sha256": None if None in digests else hashlib.sha256("".join(map(str, digests)).encode()).hexdigest(),
        **_common([{key: record.get(key) for key in ("training", "provenance")} for record in records]),
        "folds": _folds(runs, cases),
    }
    prepare_output_folder(target)
    for name in ("roc.csv", "calibration.csv"):  # of an earlier run
        (target / name).unlink(missing_ok=True)
    if calibration is not None:
        write_table(target / "calibration.csv", calibration.curve())
    logger.info("%s\nmerged run: %s", write_evaluation(target, cases, summary), target)
    return target


def scores_by_fold(cases: pd.DataFrame) -> dict[int, dict[str, float]]:
    """Compute `FOLD_SCORES` of each fold of a table of cases with the column `fold`, NaN if undefined.

    Those of classes are left out if there are no class probabilities.
    """
    return {int(fold): _scores(own) for fold, own in cases.groupby("fold")}


def mean_over_folds(by_fold: Mapping[int, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return `mean`, `sd` (n - 1; NaN for one fold) and `folds`, the number with a defined score, of each score."""
    spreads = pd.DataFrame.from_dict(by_fold, orient="index").agg(["mean", "std", "count"])
    return {
        name: {"mean": float(one["mean"]), "sd": float(one["std"]), "folds": int(one["count"])}
        for name, one in spreads.items()
    }


def _scores(cases: pd.DataFrame) -> dict[str, float]:
    lesions = scores_by_convention(cases, "lesion_only")
    pooled = overlap_scores(cases[list(COUNTS)].sum())
    scores = {
        **{f"{name}_lesion_only": float(lesions[name].dropna().mean()) for name in ("dice", "jaccard")},
        "dice_pooled": pooled["dice"],
        "jaccard_pooled": pooled["jaccard"],
        "pixel_accuracy_pooled": pooled["accuracy"],
    }
    names = predicted_classes(cases)
    if names:
        points = class_points(cases["class"].tolist(), class_probabilities(cases), names)
        scores |= {name: points[name.removeprefix("class_")] for name in FOLD_SCORES if name.startswith("class_")}
    return scores


def _by_fold(runs: Sequence[Evaluation]) -> dict[int, Evaluation]:
    """Return the evaluations by test fold, in order."""
    found: dict[int, Evaluation] = {}
    for run in runs:
        fold = _fold_of(run)[0]
        if fold in found:
            raise ValueError(f"{found[fold].folder} and {run.folder} are both test fold {fold}")
        found[fold] = run
    return dict(sorted(found.items()))


def _fold_of(run: Evaluation) -> tuple[int, int]:
    """Return the test fold of an evaluation, and the number of folds of its split."""
    if run.record.get("folds") is not None:
        raise ValueError(f"{run.folder} is already merged; merge its folds instead")
    split = run.record.get("split") or ""
    match = _FOLD.search(split)
    if match is None:
        raise ValueError(f"{run.folder}: the split has no test fold, such as 'test fold 0 of 5', got {split!r}")
    return int(match[1]), int(match[2])


def _check_alike(runs: Sequence[Evaluation]) -> None:
    """Check that evaluations agree in everything that must be the same in all folds."""
    first = _facts(runs[0])
    for run in runs[1:]:
        for name, value in _facts(run).items():
            if value != first[name]:
                raise ValueError(
                    f"{run.folder} can't be merged with {runs[0].folder}: {name} is {value!r}, not {first[name]!r}"
                )
    recorded = [(run.folder, recipe) for run in runs if (recipe := run.recorded("training", "recipe"))]
    recipes = {folder: pd.json_normalize(recipe, sep="#").iloc[0].to_dict() for folder, recipe in recorded}
    for folder, recipe in recipes.items():
        place, there = next(iter(recipes.items()))
        other = [key for key in {**there, **recipe} if key not in _FREE and there.get(key) != recipe.get(key)]
        if other:
            raise ValueError(f"{folder} was trained with a different recipe than {place}: {', '.join(other)} differ")


def _facts(run: Evaluation) -> dict[str, Any]:
    record = run.record
    return {
        "synthetic_data": record["synthetic_data"],
        "the part of the split": run.part,
        "the number of folds": _fold_of(run)[1],
        "the split": _FOLD.sub("fold", record["split"]),
        "settings": record.get("settings"),
        "the number of epochs": trained_epochs(record.get("training")),
        "decision": record.get("decision"),
        "the size of the scores": record.get("score_size") or "network",
        "the unit of distances": record.get("distance_unit"),
        "the list of columns": list(run.cases),
    }


def _check_disjoint(runs: Sequence[Evaluation]) -> None:
    """Check that no case or weight file is in two evaluations, and no group unless the split leaks on purpose."""
    seen: dict[tuple[str, str], Path] = {}
    for run in runs:
        own = {("case", name) for name in run.cases["case_id"]}
        if LEAKING not in run.record["split"]:
            own |= {("group", name) for name in run.cases["group"]}
        if run.record.get("weights_sha256"):
            own.add(("weight file (SHA-256)", run.record["weights_sha256"]))
        for what, name in sorted(own):
            if (what, name) in seen:
                raise ValueError(
                    f"the {what} {name} is in two folds, {seen[what, name]} and {run.folder}; expected folds of the "
                    "same cross-validation"
                )
        seen.update(dict.fromkeys(own, run.folder))


def merged_count(folds: Sequence[int], count: int, noun: str) -> str:
    """Return how many folds of a split are merged, such as "5 of 5 test folds"."""
    which = "" if len(folds) == count else f" (incomplete: {', '.join(map(str, folds))})"
    return f"{len(folds)} of {count} {noun}{which}"


def _merged_calibration(runs: Sequence[Evaluation]) -> PixelCalibration | None:
    """Add up the bins of the reliability curves; None if a fold has none or other bins."""
    bins = runs[0].recorded("calibration", "bins")
    if any(run.calibration is None or run.recorded("calibration", "bins") != bins for run in runs):
        return None
    merged = PixelCalibration(bins)
    for curve in (run.calibration for run in runs if run.calibration is not None):
        index, pixels = (curve["low"] * bins).round().astype(int), curve["pixels"].to_numpy()
        merged.pixels[index] += pixels
        merged.probability_sum[index] += curve["mean_probability"] * pixels
        merged.lesion_pixels[index] += (curve["lesion_fraction"] * pixels).round().astype(int)
    return merged


def _folds(runs: Mapping[int, Evaluation], cases: pd.DataFrame) -> dict[str, Any]:
    scores = scores_by_fold(cases)
    kept = ("data_sha256", "weights_sha256", "training", "provenance")
    records = [{key: run.record.get(key) for key in kept} for run in runs.values()]
    shared = _common(records)
    return {
        "merged": list(runs),
        "of": _fold_of(next(iter(runs.values())))[1],
        "scores": mean_over_folds(scores),
        "runs": [
            {
                "fold": fold,
                "cases": len(run.cases),
                "lesion_cases": run.summary["lesion_cases"],
                "scores": scores[fold],
                "pixel_auc": run.recorded("pixel_roc", "auc"),
                **_own(record, shared),
            }
            for (fold, run), record in zip(runs.items(), records, strict=True)
        ],
        "merged_by": provenance(),
    }


def _common(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entries, also nested ones, that are the same in all records."""
    shared: dict[str, Any] = {}
    for key in records[0]:
        values = [record.get(key) for record in records]
        if all(isinstance(value, Mapping) for value in values):
            shared[key] = _common([value for value in values if isinstance(value, Mapping)])
        elif all(value == values[0] for value in values):
            shared[key] = values[0]
    return shared


def _own(record: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a record that are not shared."""
    own: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping) and isinstance(shared.get(key), Mapping):
            own |= {key: rest} if (rest := _own(value, shared[key])) else {}
        elif key not in shared:
            own[key] = value
    return own
