"""The table of masks that a class head may empty, for `results_table.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_attention.engines.class_columns import PROBABILITY_PREFIX
from hybrid_attention.evaluation import summarize
from hybrid_attention.evaluation.metrics import overlap_scores
from hybrid_attention.evaluation.surface import DISTANCES
from hybrid_attention.evaluation.text import markdown_grid, percent, score_interval
from hybrid_attention.report import Run

# a mask is emptied when the image is more likely normal than not: chosen before anything was measured
THRESHOLD = 0.5

_NOTHING_MARKED = {"detected_lesions": 0, "false_lesions": 0}


def normal_table(runs: Sequence[Run]) -> str:
    """Lay out what it changes that images which look normal get an empty mask.

    Args:
        runs: evaluations on images with and without lesion.

    Returns:
        Markdown, two rows a network with a class head, one row each other.
    """
    rows = []
    for run in runs:
        rows.append((run.name, "as segmented", *_cells(run.rows)))
        if run.classes:
            rows.append((run.name, "normal images emptied", *_cells(emptied_rows(run.rows, THRESHOLD))))
    header = (
        "network",
        "masks",
        "Dice, lesion images",
        "marked without lesion",
        "lesion images left empty",
        "Dice, all",
    )
    return markdown_grid(header, rows)


def emptied_rows(rows: Sequence[Mapping[str, Any]], threshold: float, normal: str = "normal") -> list[dict[str, Any]]:
    """Return the rows as they would be if images that look normal got an empty mask.

    It is what an evaluation with `normal_threshold` gives, computed from one without.

    Args:
        rows: one a case, with `tp`, `fp`, `fn`, `tn` and the class probabilities, as `CaseScores` writes them.
        threshold: probability of the class without lesion from which on a mask is emptied.
        normal: name of that class.

    Returns:
        New rows.

    Raises:
        ValueError: the rows hold no probability of that class.
    """
    column = PROBABILITY_PREFIX + normal
    if any(column not in row for row in rows):
        raise ValueError(f"the table has no column {column}: the network doesn't tell normal images")
    return [_emptied(row) if row[column] >= threshold else dict(row) for row in rows]


def _emptied(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = {"tp": 0, "fp": 0, "fn": row["tp"] + row["fn"], "tn": row["fp"] + row["tn"]}
    scores = {name: value for name, value in overlap_scores(counts).items() if name in row}
    distances = {name: math.nan for name in DISTANCES if name in row}
    found = {name: value for name, value in _NOTHING_MARKED.items() if name in row}
    return {**row, **counts, **scores, **distances, **found}


def _cells(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    summary = summarize(rows)
    empty = sum(row["tp"] + row["fp"] == 0 and row["tp"] + row["fn"] > 0 for row in rows)
    return (
        score_interval(summary["lesion_only"]["dice"]),
        percent(summary["false_positive_rate_without_lesion"]),
        f"{empty} of {summary['lesion_cases']}",
        score_interval(summary["empty_is_one"]["dice"]),
    )
