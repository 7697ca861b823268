"""The table of masks that a class head may empty, for `results_table.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_attention.evaluation import summarize
from hybrid_attention.evaluation.normal_gate import emptied_rows
from hybrid_attention.evaluation.text import markdown_grid, percent, score_interval
from hybrid_attention.report import Run

# a mask is emptied when the image is more likely normal than not: chosen before anything was measured
THRESHOLD = 0.5


def normal_table(runs: Sequence[Run]) -> str:
    """Lay out what it changes that images which look normal get an empty mask.

    Args:
        runs: evaluations on images with and without lesion.

    Returns:
        Markdown, two rows a network with a class head.
    """
    rows = []
    for run in runs:
        if not run.classes:
            continue
        rows.append((run.name, "as segmented", *_cells(run.rows)))
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


def _cells(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    summary = summarize(rows)
    empty = sum(row["tp"] + row["fp"] == 0 and row["tp"] + row["fn"] > 0 for row in rows)
    return (
        score_interval(summary["lesion_only"]["dice"]),
        percent(summary["false_positive_rate_without_lesion"]),
        f"{empty} of {summary['lesion_cases']}",
        score_interval(summary["empty_is_one"]["dice"]),
    )
