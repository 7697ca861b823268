"""The table of a single run, for `results_table.py`."""

from __future__ import annotations

from pathlib import Path

from hybrid_attention.evaluation import CONVENTIONS
from hybrid_attention.evaluation.text import markdown_grid, score_interval
from hybrid_attention.report import read_run


def one_run_table(run_folder: Path) -> str:
    """Lay out the scores of one run, a row a convention.

    Args:
        run_folder: of an experiment.

    Returns:
        Markdown.
    """
    run = read_run(run_folder)
    names = ("dice", "jaccard", "sensitivity", "precision")
    rows = [
        (f"`{convention}`", *(score_interval(run.summary[convention][name]) for name in names))
        for convention in CONVENTIONS
    ]
    return markdown_grid(("convention", *(name.capitalize() for name in names)), rows)
