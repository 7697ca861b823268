"""A summary as Markdown, for `summary.md` and the log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hybrid_attention.evaluation.fold_scores import FOLD_SCORES
from hybrid_attention.evaluation.metrics import SCORES
from hybrid_attention.evaluation.surface import DISTANCES
from hybrid_attention.evaluation.text import (
    confusion_cells,
    markdown_grid,
    number,
    percent,
    score_interval,
    score_spread,
    score_title,
)


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
            if not math.isnan(roc["auc"])
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
