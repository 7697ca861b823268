"""Scores fold by fold, and their mean and spread, as papers on cross-validation report them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hybrid_attention.engines.class_columns import class_probabilities, predicted_classes
from hybrid_attention.evaluation.classification import class_points
from hybrid_attention.evaluation.metrics import COUNTS, overlap_scores
from hybrid_attention.evaluation.summary import has_lesion

# by name, what tables call it
FOLD_SCORES = {
    "dice_lesion_only": "Dice, lesion_only",
    "jaccard_lesion_only": "Jaccard, lesion_only",
    "dice_pooled": "Dice, pooled",
    "jaccard_pooled": "Jaccard, pooled",
    "pixel_accuracy_pooled": "pixel accuracy, pooled",
    "class_accuracy": "class accuracy",
    "class_balanced_accuracy": "balanced class accuracy",
    "class_macro_auc": "class macro AUC",
    "class_macro_f1": "class macro F1",
}


def scores_by_fold(rows: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, float]]:
    """Score each fold of a merged run alone.

    Args:
        rows: of `merge_folds`, with the column `fold`.

    Returns:
        By fold, each of `FOLD_SCORES`, NaN where it is undefined; those of classes only where rows hold probabilities.

    Raises:
        ValueError: a class of the truth has no probability, or probabilities don't add up to 1.
    """
    folds: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        folds.setdefault(row["fold"], []).append(row)
    return {fold: _scores(folds[fold]) for fold in sorted(folds)}


def mean_over_folds(by_fold: Mapping[int, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the mean and spread of each score over folds, each fold counting once whatever its size.

    Args:
        by_fold: from `scores_by_fold`.

    Returns:
        By score its `mean`, `sd` (standard deviation of the sample, n - 1; NaN for one fold) and `folds`: how many
        there are in which it is defined. NaN where there is none.
    """
    spreads = {}
    for name in next(iter(by_fold.values())):
        values = [scores[name] for scores in by_fold.values() if not math.isnan(scores[name])]
        spreads[name] = {
            "mean": float(np.mean(values)) if values else math.nan,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
            "folds": len(values),
        }
    return spreads


def _scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    lesions = [overlap_scores({name: row[name] for name in COUNTS}) for row in rows if has_lesion(row)]
    pooled = overlap_scores({name: sum(row[name] for row in rows) for name in COUNTS})
    scores = {
        **{
            f"{name}_lesion_only": float(np.mean([one[name] for one in lesions])) if lesions else math.nan
            for name in ("dice", "jaccard")
        },
        "dice_pooled": pooled["dice"],
        "jaccard_pooled": pooled["jaccard"],
        "pixel_accuracy_pooled": pooled["accuracy"],
    }
    names = predicted_classes(rows)
    if names:
        points = class_points([row["class"] for row in rows], class_probabilities(rows), names)
        scores |= {name: points[name.removeprefix("class_")] for name in FOLD_SCORES if name.startswith("class_")}
    return scores
