"""From a table of cases to the numbers that get printed, each under the name of its convention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hybrid_attention.evaluation.lesions import LESION_COUNTS
from hybrid_attention.evaluation.metrics import COUNTS, SCORES, overlap_scores
from hybrid_attention.evaluation.statistics import bootstrap_ratio
from hybrid_attention.evaluation.surface import DISTANCES

Rows = Sequence[Mapping[str, Any]]

CONVENTIONS = {
    "lesion_only": "mean over the images whose truth holds a lesion",
    "empty_is_one": "mean over all images; one without lesion counts 1 when nothing is marked in it, else 0 "
    "(specificity and accuracy need no lesion and stay as they are)",
    "empty_is_zero": "mean over all images; one without lesion counts 0 whatever is marked "
    "(specificity and accuracy need no lesion and stay as they are)",
    "pooled": "sums of pixels over all images, then the ratio: large lesions count more",
}
# what an image without lesion has no ratio for
_NEED_LESION = ("dice", "jaccard", "f1", "sensitivity", "precision")
_RATIOS = {
    "dice": (("tp", "tp"), ("tp", "tp", "fp", "fn")),
    "jaccard": (("tp",), ("tp", "fp", "fn")),
    "f1": (("tp", "tp"), ("tp", "tp", "fp", "fn")),
    "sensitivity": (("tp",), ("tp", "fn")),
    "specificity": (("tn",), ("tn", "fp")),
    "precision": (("tp",), ("tp", "fp")),
    "accuracy": (("tp", "tn"), ("tp", "tn", "fp", "fn")),
}


def summarize(rows: Rows) -> dict[str, Any]:
    """Summarize a per-case table under each of the `CONVENTIONS`, by name.

    The same predictions give very different numbers: on the images without lesion a score is undefined (`lesion_only`
    leaves them out), or 1 or 0 by agreement. `empty_is_zero` can't exceed the share of images with a lesion. Precision
    is undefined, too, for a lesion image in which nothing is marked: `lesion_only` leaves it out of the precision's
    mean and gives the number of images that are in, `empty_is_one` and `empty_is_zero` count 0.

    Args:
        rows: with `group`, `tp`, `fp`, `fn`, `tn` as `CaseScores` writes them; where they hold `hd95` and `asd`, and
            the counts of lesions, these are summarized too.

    Returns:
        `cases`, `lesion_cases`, `false_positive_rate_without_lesion` (the share of images without lesion in which
        something is marked, None where there are none). For the three per-image conventions each score's `mean`,
        `low` and `high` of the 95 % bootstrap interval over groups, `median` and `images` (how many entered); for
        `pooled` its `value`, `low` and `high`. `lesion_only` holds `hd95` and `asd` (over images in which something is
        marked). `lesion_detection`, where counted: `sensitivity` and `precision` over all lesions and
        `false_lesions_per_image`, each with `value`, `low` and `high`. What is undefined is NaN.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("there is no case to summarize")
    lesions = [row for row in rows if has_lesion(row)]
    normal = [row for row in rows if not has_lesion(row)]
    false_positives = sum(row["fp"] > 0 for row in normal)
    summary: dict[str, Any] = {
        "cases": len(rows),
        "lesion_cases": len(lesions),
        "false_positive_rate_without_lesion": false_positives / len(normal) if normal else None,
    }
    for convention in ("lesion_only", "empty_is_one", "empty_is_zero"):
        scores = [scores_by_convention(row, convention) for row in rows]
        summary[convention] = {name: _per_image(rows, [score[name] for score in scores]) for name in SCORES}
    for name in DISTANCES:
        if all(name in row for row in rows):
            summary["lesion_only"][name] = _per_image(lesions, [float(row[name]) for row in lesions])
    summary["pooled"] = {name: _pooled(rows, *_RATIOS[name]) for name in SCORES}
    if all(count in row for row in rows for count in LESION_COUNTS):
        summary["lesion_detection"] = {
            "sensitivity": _pooled(rows, ("detected_lesions",), ("lesions",)),
            "precision": _pooled(rows, ("detected_lesions",), ("detected_lesions", "false_lesions")),
            "false_lesions_per_image": _interval_of(rows, [float(row["false_lesions"]) for row in rows], None),
        }
    return summary


def scores_by_convention(row: Mapping[str, Any], convention: str) -> dict[str, float]:
    """Return the scores of one case under a convention.

    Args:
        row: with `tp`, `fp`, `fn`, `tn`.
        convention: `lesion_only`, `empty_is_one` or `empty_is_zero`.

    Returns:
        Each of `SCORES`; NaN where the convention leaves the case out.
    """
    scores = overlap_scores({name: float(row[name]) for name in COUNTS})
    if convention == "lesion_only":
        return scores if has_lesion(row) else dict.fromkeys(scores, math.nan)
    for name in _NEED_LESION:
        if not has_lesion(row):
            scores[name] = float(convention == "empty_is_one" and row["fp"] == 0)
        elif math.isnan(scores[name]):  # precision, where nothing is marked
            scores[name] = 0.0
    return scores


def has_lesion(row: Mapping[str, Any]) -> bool:
    """Tell whether the truth of a case holds a lesion."""
    return bool(row["tp"] + row["fn"] > 0)


def _per_image(rows: Rows, scores: Sequence[float]) -> dict[str, float]:
    scored = [(value, row["group"]) for row, value in zip(rows, scores, strict=True) if not math.isnan(value)]
    if not scored:
        return {"mean": math.nan, "low": math.nan, "high": math.nan, "median": math.nan, "images": 0}
    values = [value for value, _ in scored]
    mean, low, high = bootstrap_ratio(values, [1.0] * len(values), [group for _, group in scored])
    return {"mean": mean, "low": low, "high": high, "median": float(np.median(values)), "images": len(values)}


def _pooled(rows: Rows, over: Sequence[str], under: Sequence[str]) -> dict[str, float]:
    return _interval_of(
        rows,
        [float(sum(row[count] for count in over)) for row in rows],
        [float(sum(row[count] for count in under)) for row in rows],
    )


def _interval_of(rows: Rows, top: list[float], bottom: list[float] | None) -> dict[str, float]:
    bottom = [1.0] * len(top) if bottom is None else bottom
    if sum(bottom) == 0:
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    value, low, high = bootstrap_ratio(top, bottom, [row["group"] for row in rows])
    return {"value": value, "low": low, "high": high}
