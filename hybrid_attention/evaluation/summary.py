"""Summary scores of a table of cases, by the convention for images without a lesion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from hybrid_attention.evaluation.formatting import (
    confusion_cells,
    is_defined,
    markdown_rows,
    number,
    percent,
    score_interval,
    score_spread,
    score_title,
)
from hybrid_attention.evaluation.metrics.classification import CLASS_MEASURES
from hybrid_attention.evaluation.metrics.segmentation import (
    DISTANCES,
    LESION_COUNTS,
    RATIOS,
    SCORES,
    has_lesion,
    overlap_scores,
)
from hybrid_attention.evaluation.statistics import Interval, bootstrap_mean, bootstrap_ratio

CONVENTIONS = {
    "lesion_only": "mean over the images with a lesion",
    "empty_is_one": "mean over all images; a normal image scores 1 if nothing is predicted in it, else 0 "
    "(specificity and accuracy are computed as usual)",
    "empty_is_zero": "mean over all images; a normal image scores 0 whatever is predicted "
    "(specificity and accuracy are computed as usual)",
    "pooled": "ratio of pixel counts summed over all images: large lesions count more",
}
# scores per fold of a cross-validation, and their titles
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
# undefined for images without a lesion
_NEED_LESION = ("dice", "jaccard", "f1", "sensitivity", "precision")


def summarize(cases: pd.DataFrame) -> dict[str, Any]:
    """Summarize a table of cases under each of the `CONVENTIONS`.

    The same predictions give very different numbers: overlap scores of images without a lesion are undefined
    (`lesion_only` excludes them), or 1 or 0 by definition. `empty_is_zero` can't exceed the share of images with a
    lesion. Precision is also undefined for lesion images with an empty prediction: `lesion_only` excludes them from
    its mean and reports the number of images included; `empty_is_one` and `empty_is_zero` count 0.

    The table is as written by `CaseScores`, with `group`, `tp`, `fp`, `fn`, `tn`, and optionally `hd95`, `asd` and the
    lesion counts.

    Returns:
        `cases`, `lesion_cases` and `false_positive_rate_without_lesion` (share of images without a lesion in which
        something is predicted; None if there are no such images). For each convention except `pooled`, each score's
        `mean`, `low` and `high` (95 % bootstrap interval over groups), `median` and `images` (number included); for
        `pooled`, its `value`, `low` and `high`. `lesion_only` also holds `hd95` and `asd`, over images with a
        prediction. `lesion_detection`, if counted: `sensitivity` and `precision` over all lesions and
        `false_lesions_per_image`, each with `value`, `low` and `high`. Undefined scores are NaN.
    """
    if cases.empty:
        raise ValueError("no case to summarize")
    lesion = has_lesion(cases)
    false_positive = cases["fp"][~lesion] > 0
    summary: dict[str, Any] = {
        "cases": len(cases),
        "lesion_cases": int(lesion.sum()),
        "false_positive_rate_without_lesion": float(false_positive.mean()) if len(false_positive) else None,
    }
    for convention in ("lesion_only", "empty_is_one", "empty_is_zero"):
        scores = scores_by_convention(cases, convention)
        summary[convention] = {name: _per_image(scores[name], cases["group"]) for name in SCORES}
    for name in DISTANCES:
        if name in cases:
            summary["lesion_only"][name] = _per_image(cases[name].where(lesion), cases["group"])
    summary["pooled"] = {name: _pooled(cases, *ratio) for name, ratio in RATIOS.items()}
    if set(LESION_COUNTS) <= set(cases):
        summary["lesion_detection"] = {
            "sensitivity": _pooled(cases, ["detected_lesions"], ["lesions"]),
            "precision": _pooled(cases, ["detected_lesions"], ["detected_lesions", "false_lesions"]),
            "false_lesions_per_image": _pooled(cases, ["false_lesions"], []),
        }
    return summary


def scores_by_convention(cases: pd.DataFrame, convention: str) -> pd.DataFrame:
    """Return the scores of each case, one column each, under `lesion_only`, `empty_is_one` or `empty_is_zero`.

    They are NaN where the convention excludes the case.
    """
    scores, lesion = pd.DataFrame(overlap_scores(cases), index=cases.index), has_lesion(cases)
    if convention == "lesion_only":
        return scores.where(lesion)
    without = (cases["fp"] == 0) & (convention == "empty_is_one")
    for name in _NEED_LESION:  # precision is undefined where nothing is predicted
        scores[name] = scores[name].fillna(0.0).where(lesion, without.astype(float))
    return scores


def _per_image(scores: pd.Series, groups: pd.Series) -> dict[str, float]:
    defined = scores.notna()
    values = scores[defined]
    if values.empty:
        return {"mean": math.nan, "low": math.nan, "high": math.nan, "median": math.nan, "images": 0}
    mean, low, high = bootstrap_mean(values, groups[defined])
    return {"mean": mean, "low": low, "high": high, "median": float(values.median()), "images": len(values)}


def _pooled(cases: pd.DataFrame, over: Sequence[str], under: Sequence[str]) -> dict[str, float]:
    """Return the ratio of sums with its interval; without a denominator, the mean."""
    bottom = cases[list(under)].sum(axis=1) if under else np.ones(len(cases))
    if bottom.sum() == 0:
        return Interval(math.nan, math.nan, math.nan)._asdict()
    return bootstrap_ratio(cases[list(over)].sum(axis=1), bottom, cases["group"])._asdict()


def summary_table(summary: Mapping[str, Any]) -> str:
    """Format a summary as Markdown: scores in percent by convention, other scores, classes, and folds."""
    images, lesions = summary["cases"], summary["lesion_cases"]
    others = ("empty_is_one", "empty_is_zero") if images > lesions else ()
    rows = []
    for name in SCORES:
        score = summary["lesion_only"][name]
        fewer = f" (of {score['images']})" if score["images"] < lesions else ""
        rows.append(
            {
                "score (%)": score_title(name),
                f"lesion_only: mean of {lesions} images": f"{score_interval(score)}{fewer}",
                "median": percent(score["median"]),
                **{f"{one}: mean of {images} images": score_interval(summary[one][name]) for one in others},
                "pooled over pixels": score_interval(summary["pooled"][name]),
            }
        )
    parts = [markdown_rows(rows), "\n".join(_other_scores(summary))]
    if summary.get("classification"):
        parts.append(_classes(summary["classification"]))
    if summary.get("folds"):
        parts.append(_folds(summary["folds"]))
    return "\n\n".join(part for part in parts if part)


def _other_scores(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in DISTANCES:
        if name in summary["lesion_only"]:
            score = summary["lesion_only"][name]
            interval = f"{score['mean']:.1f} [{score['low']:.1f}, {score['high']:.1f}], median {score['median']:.1f}"
            unit = {"pixel": "pixels of the image file"}.get(summary.get("distance_unit", ""), "mm")
            images = f"{score['images']} lesion images with a prediction"
            lines.append(f"* {name} in {unit}: {interval}, over the {images}")
    if "lesion_detection" in summary:
        found = summary["lesion_detection"]
        lines.append(
            f"* lesion sensitivity: {score_interval(found['sensitivity'])} %, lesion precision: "
            f"{score_interval(found['precision'])} %, false positives per image: "
            f"{found['false_lesions_per_image']['value']:.2f}"
        )
    if summary["false_positive_rate_without_lesion"] is not None:
        share = percent(summary["false_positive_rate_without_lesion"])
        lines.append(f"* false-positive rate on normal images: {share} %")
    if summary.get("pixel_roc"):
        roc = summary["pixel_roc"]
        area = (
            f"{roc['auc']:.4f} (± {roc['error_bound']:.1g} from binning)"
            if is_defined(roc["auc"])
            else "n/a: all predictions are equal, or only one class of pixels"
        )
        lines.append(f"* pixel AUC: {area}")
    if summary.get("calibration"):
        lines.append(f"* expected calibration error of pixels: {number(summary['calibration']['ece'], 4)}")
    return lines


def _classes(scores: Mapping[str, Any]) -> str:
    names = scores["class_names"]
    rows = [
        {
            "true class": name,
            **{f"{score_title(one)} (%)": percent(scores["classes"][name][one]) for one in CLASS_MEASURES},
            **dict(zip((f"predicted {other}" for other in names), confusion_cells(line), strict=True)),
        }
        for name, line in zip(names, scores["confusion"], strict=True)
    ]
    return (
        f"Classes of {scores['cases']} images: accuracy {score_interval(scores['accuracy'])} %, balanced accuracy "
        f"{score_interval(scores['balanced_accuracy'])} %, macro AUC (one-vs-rest) "
        f"{score_interval(scores['macro_auc'])} %, macro F1 {score_interval(scores['macro_f1'])} %\n\n"
        + markdown_rows(rows)
    )


def _folds(folds: Mapping[str, Any]) -> str:
    names = list(folds["scores"])
    rows = [
        {
            "test fold": str(run["fold"]),
            "images": str(run["cases"]),
            "pixel AUC": number(run["pixel_auc"], 4),
            **{FOLD_SCORES[name]: percent(run["scores"][name]) for name in names},
        }
        for run in folds["runs"]
    ]
    spread = {FOLD_SCORES[name]: score_spread(folds["scores"][name]) for name in names}
    rows.append({"test fold": "mean ± sd over folds", "images": "", "pixel AUC": "", **spread})
    text = "Scores per fold (%); ROC curves can't be merged exactly, so each fold has its own AUC:"
    return f"{text}\n\n{markdown_rows(rows)}"
