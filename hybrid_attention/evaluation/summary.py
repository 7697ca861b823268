"""From a table of cases to the numbers that get printed, each under the name of its convention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hybrid_attention.evaluation.metrics import COUNTS, SCORES, overlap_scores
from hybrid_attention.evaluation.statistics import bootstrap_ratio

Rows = Sequence[Mapping[str, Any]]

_RATIOS = {
    "dice": (("tp", "tp"), ("tp", "tp", "fp", "fn")),
    "jaccard": (("tp",), ("tp", "fp", "fn")),
    "sensitivity": (("tp",), ("tp", "fn")),
    "specificity": (("tn",), ("tn", "fp")),
    "precision": (("tp",), ("tp", "fp")),
    "accuracy": (("tp", "tn"), ("tp", "tn", "fp", "fn")),
}


def summarize(rows: Rows) -> dict[str, Any]:
    """Summarize a per-case table.

    Two conventions, by name: `lesion_only` is the mean over the images whose truth holds a lesion (what a score says of
    a typical lesion); `pooled` divides sums of pixels over all images (large lesions count more). Precision is
    undefined for an image in which nothing is marked; its mean is over the others, whose number is given.

    Args:
        rows: with `group`, `tp`, `fp`, `fn`, `tn` as `CaseScores` writes them.

    Returns:
        `cases`, `lesion_cases`, `false_positive_rate_without_lesion` (the share of images without lesion in which
        something is marked, None where there are none), and for both conventions each score's `mean` (`value` for
        pooled), `low` and `high` of the 95 % bootstrap interval over groups, for `lesion_only` the `median` too.

    Raises:
        ValueError: no image holds a lesion.
    """
    lesions = [row for row in rows if row["tp"] + row["fn"] > 0]
    normal = [row for row in rows if row["tp"] + row["fn"] == 0]
    if not lesions:
        raise ValueError(f"none of the {len(rows)} images holds a lesion: there is nothing to score")
    false_positives = sum(row["fp"] > 0 for row in normal)
    return {
        "cases": len(rows),
        "lesion_cases": len(lesions),
        "false_positive_rate_without_lesion": false_positives / len(normal) if normal else None,
        "lesion_only": {name: _per_image(lesions, name) for name in SCORES},
        "pooled": {name: _pooled(rows, name) for name in SCORES},
    }


def _per_image(rows: Rows, name: str) -> dict[str, float]:
    scored = [(value, row["group"]) for row in rows if not math.isnan(value := overlap_scores(_counts(row))[name])]
    if not scored:
        return {"mean": math.nan, "low": math.nan, "high": math.nan, "median": math.nan, "images": 0}
    values = [value for value, _ in scored]
    mean, low, high = bootstrap_ratio(values, [1.0] * len(values), [group for _, group in scored])
    return {"mean": mean, "low": low, "high": high, "median": float(np.median(values)), "images": len(values)}


def _pooled(rows: Rows, name: str) -> dict[str, float]:
    over, under = _RATIOS[name]
    top = [float(sum(row[count] for count in over)) for row in rows]
    bottom = [float(sum(row[count] for count in under)) for row in rows]
    if sum(bottom) == 0:
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    value, low, high = bootstrap_ratio(top, bottom, [row["group"] for row in rows])
    return {"value": value, "low": low, "high": high}


def _counts(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in COUNTS}


def summary_table(summary: Mapping[str, Any]) -> str:
    """Lay a summary out as a Markdown table.

    Args:
        summary: from `summarize`.

    Returns:
        The table, scores in percent with 95 % intervals.
    """
    lines = [
        f"| score (%) | lesion_only: mean of {summary['lesion_cases']} images | median | pooled over pixels |",
        "|---|---|---|---|",
    ]
    for name in SCORES:
        single, pooled = summary["lesion_only"][name], summary["pooled"][name]
        lines.append(
            f"| {name} | {_interval(single['mean'], single)} | {100 * single['median']:.1f} "
            f"| {_interval(pooled['value'], pooled)} |"
        )
    return "\n".join(lines)


def _interval(value: float, bounds: Mapping[str, float]) -> str:
    return f"{100 * value:.1f} [{100 * bounds['low']:.1f}, {100 * bounds['high']:.1f}]"
