"""From a table of cases to the numbers that get printed, each under the name of its convention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from hybrid_attention.evaluation.formatting import (
    confusion_cells,
    is_defined,
    markdown_grid,
    number,
    percent,
    score_interval,
    score_spread,
    score_title,
)
from hybrid_attention.evaluation.metrics.lesions import LESION_COUNTS
from hybrid_attention.evaluation.metrics.overlap import RATIOS, SCORES, has_lesion, overlap_scores
from hybrid_attention.evaluation.metrics.surface import DISTANCES
from hybrid_attention.evaluation.statistics import bootstrap_ratio

CONVENTIONS = {
    "lesion_only": "mean over the images whose truth holds a lesion",
    "empty_is_one": "mean over all images; one without lesion counts 1 when nothing is marked in it, else 0 "
    "(specificity and accuracy need no lesion and stay as they are)",
    "empty_is_zero": "mean over all images; one without lesion counts 0 whatever is marked "
    "(specificity and accuracy need no lesion and stay as they are)",
    "pooled": "sums of pixels over all images, then the ratio: large lesions count more",
}
# scores of the folds of a cross-validation and what tables call them
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
# what an image without lesion has no ratio for
_NEED_LESION = ("dice", "jaccard", "f1", "sensitivity", "precision")


def summarize(cases: pd.DataFrame) -> dict[str, Any]:
    """Summarize a table of cases under each of the `CONVENTIONS`, by name.

    The same predictions give very different numbers: on the images without lesion a score is undefined (`lesion_only`
    leaves them out), or 1 or 0 by agreement. `empty_is_zero` can't exceed the share of images with a lesion. Precision
    is undefined, too, for a lesion image in which nothing is predicted: `lesion_only` leaves it out of the precision's
    mean and gives the number of images that are in, `empty_is_one` and `empty_is_zero` count 0.

    Args:
        cases: with `group`, `tp`, `fp`, `fn`, `tn` as `CaseScores` writes them; where it holds `hd95` and `asd`, and
            the counts of lesions, these are summarized too.

    Returns:
        `cases`, `lesion_cases`, `false_positive_rate_without_lesion` (the share of images without lesion in which
        something is predicted, None where there are none). For the three conventions per image each score's `mean`,
        `low` and `high` of the 95 % bootstrap interval over groups, `median` and `images` (how many entered); for
        `pooled` its `value`, `low` and `high`. `lesion_only` holds `hd95` and `asd` (over images in which something is
        predicted). `lesion_detection`, where counted: `sensitivity` and `precision` over all lesions and
        `false_lesions_per_image`, each with `value`, `low` and `high`. What is undefined is NaN.

    Raises:
        ValueError: there is no case.
    """
    if cases.empty:
        raise ValueError("there is no case to summarize")
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
    """Return the scores of each case under a convention.

    Args:
        cases: with `tp`, `fp`, `fn`, `tn`.
        convention: `lesion_only`, `empty_is_one` or `empty_is_zero`.

    Returns:
        A column for each of `SCORES`; NaN where the convention leaves the case out.
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
    mean, low, high = bootstrap_ratio(values, np.ones(len(values)), groups[defined])
    return {"mean": mean, "low": low, "high": high, "median": float(values.median()), "images": len(values)}


def _pooled(cases: pd.DataFrame, over: Sequence[str], under: Sequence[str]) -> dict[str, float]:
    """Return the ratio of sums with its interval; the mean where there is nothing under the line."""
    bottom = cases[list(under)].sum(axis=1) if under else np.ones(len(cases))
    if bottom.sum() == 0:
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    value, low, high = bootstrap_ratio(cases[list(over)].sum(axis=1), bottom, cases["group"])
    return {"value": value, "low": low, "high": high}


def summary_table(summary: Mapping[str, Any]) -> str:
    """Lay a summary out as Markdown tables.

    Args:
        summary: from `summarize`; where it holds `distance_unit`, `pixel_roc`, `calibration`, `classification` and
            `folds` they are printed.

    Returns:
        Overlap scores in percent with 95 % intervals, the conventions by name (those that count images without lesion
        only where there are some), lines for the other scores, the scores of classes and those over folds.
    """
    with_normal = summary["cases"] > summary["lesion_cases"]
    means = ["lesion_only", *(["empty_is_one", "empty_is_zero"] if with_normal else [])]
    header = ["score (%)", f"lesion_only: mean of {summary['lesion_cases']} images", "median"]
    header += [f"{name}: mean of {summary['cases']} images" for name in means[1:]]
    rows = []
    for name in SCORES:
        score = summary["lesion_only"][name]
        fewer = f" (of {score['images']})" if score["images"] < summary["lesion_cases"] else ""
        cells = [f"{score_interval(score)}{fewer}", percent(score["median"])]
        cells += [score_interval(summary[convention][name]) for convention in means[1:]]
        rows.append([score_title(name), *cells, score_interval(summary["pooled"][name])])
    parts = [markdown_grid([*header, "pooled over pixels"], rows), "\n".join(_other_scores(summary))]
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
            lines.append(f"* {name} in {unit}: {interval}, over the {score['images']} lesion images with a mark")
    if "lesion_detection" in summary:
        found = summary["lesion_detection"]
        lines.append(
            f"* lesions found: {score_interval(found['sensitivity'])} %, marks that are lesions: "
            f"{score_interval(found['precision'])} %, false marks an image: "
            f"{found['false_lesions_per_image']['value']:.2f}"
        )
    if summary["false_positive_rate_without_lesion"] is not None:
        share = percent(summary["false_positive_rate_without_lesion"])
        lines.append(f"* images without lesion in which something is marked: {share} %")
    if summary.get("pixel_roc"):
        roc = summary["pixel_roc"]
        area = (
            f"{roc['auc']:.4f} (± {roc['error_bound']:.1g} from binning)"
            if is_defined(roc["auc"])
            else "n/a: all predictions alike, or only one class of pixels"
        )
        lines.append(f"* pixel AUC: {area}")
    if summary.get("calibration"):
        lines.append(f"* expected calibration error of pixels: {number(summary['calibration']['ece'], 4)}")
    return lines


def _classes(scores: Mapping[str, Any]) -> str:
    measures = ("precision", "sensitivity", "specificity", "f1", "auc")
    rows = [
        (name, *(percent(scores["classes"][name][measure]) for measure in measures), *confusion_cells(line))
        for name, line in zip(scores["class_names"], scores["confusion"], strict=True)
    ]
    header = (
        "true class",
        *(f"{score_title(name)} (%)" for name in measures),
        *(f"taken for {name}" for name in scores["classes"]),
    )
    return (
        f"Classes of {scores['cases']} images: accuracy {score_interval(scores['accuracy'])} %, balanced accuracy "
        f"{score_interval(scores['balanced_accuracy'])} %, macro AUC (one class against the rest) "
        f"{score_interval(scores['macro_auc'])} %, macro F1 {score_interval(scores['macro_f1'])} %\n\n"
        + markdown_grid(header, rows)
    )


def _folds(folds: Mapping[str, Any]) -> str:
    names = list(folds["scores"])
    rows = [
        (
            str(run["fold"]),
            str(run["cases"]),
            number(run["pixel_auc"], 4),
            *(percent(run["scores"][name]) for name in names),
        )
        for run in folds["runs"]
    ]
    spread = ("mean ± sd over folds", "", "", *(score_spread(folds["scores"][name]) for name in names))
    return (
        "Fold by fold (%); stored ROC curves can't be merged exactly, so that each fold has its own AUC:\n\n"
        + markdown_grid(("test fold", "images", "pixel AUC", *(FOLD_SCORES[name] for name in names)), [*rows, spread])
    )
