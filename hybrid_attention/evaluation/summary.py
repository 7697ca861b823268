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
        scores = [case_scores(row, convention) for row in rows]
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


def case_scores(row: Mapping[str, Any], convention: str) -> dict[str, float]:
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


def summary_table(summary: Mapping[str, Any]) -> str:
    """Lay a summary out as Markdown tables.

    Args:
        summary: from `summarize`; where it holds `distance_unit`, `pixel_roc` and `calibration` they are printed.

    Returns:
        Overlap scores in percent with 95 % intervals, the conventions by name (those that count images without lesion
        only where there are some), and lines for the other scores.
    """
    with_normal = summary["cases"] > summary["lesion_cases"]
    means = ["lesion_only", *(["empty_is_one", "empty_is_zero"] if with_normal else [])]
    headings = [f"lesion_only: mean of {summary['lesion_cases']} images", "median"]
    headings += [f"{name}: mean of {summary['cases']} images" for name in means[1:]]
    lines = [f"| score (%) | {' | '.join(headings)} | pooled over pixels |", "|---" * (len(headings) + 2) + "|"]
    for name in SCORES:
        score = summary["lesion_only"][name]
        fewer = f" (of {score['images']})" if score["images"] < summary["lesion_cases"] else ""
        cells = [f"{_percent(score)}{fewer}", f"{100 * score['median']:.1f}"]
        cells += [_percent(summary[convention][name]) for convention in means[1:]]
        lines.append(f"| {name} | {' | '.join(cells)} | {_percent(summary['pooled'][name])} |")
    return "\n".join([*lines, "", *_other_scores(summary)]).rstrip()


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
            f"* lesions found: {_percent(found['sensitivity'])} %, marks that are lesions: "
            f"{_percent(found['precision'])} %, false marks an image: {found['false_lesions_per_image']['value']:.2f}"
        )
    if summary["false_positive_rate_without_lesion"] is not None:
        share = 100 * summary["false_positive_rate_without_lesion"]
        lines.append(f"* images without lesion in which something is marked: {share:.1f} %")
    if summary.get("pixel_roc"):
        roc = summary["pixel_roc"]
        area = (
            f"{roc['auc']:.4f} (± {roc['error_bound']:.1g} from binning)"
            if not math.isnan(roc["auc"])
            else "n/a: all predictions alike, or only one class of pixels"
        )
        lines.append(f"* pixel AUC: {area}; expected calibration error of pixels: {summary['calibration']['ece']:.4f}")
    if summary.get("classification"):
        scores = summary["classification"]
        lines.append(
            f"* class: accuracy {_percent(scores['accuracy'])} %, macro AUC {scores['macro_auc']['value']:.3f}"
        )
    return lines


def _percent(score: Mapping[str, float]) -> str:
    value = score["mean"] if "mean" in score else score["value"]
    if math.isnan(value):
        return "n/a"
    return f"{100 * value:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
