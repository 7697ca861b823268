"""The table of a cross-validation, for `results_table.py`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

from hybrid_attention.evaluation.text import markdown_grid, percent, score_interval
from hybrid_attention.report import Run


def folds_table(experiment: Path, runs: Mapping[str, Run], difference: Callable[[Run, Run], str]) -> str:
    """Lay out the Dice of lesion images fold by fold, the mean over folds and that over all images.

    Args:
        experiment: a folder with a folder for each run: the union of its folds and, in `fold_F`, each fold with its
            `summary_validation.json`.
        runs: by the name of their folder.
        difference: prints how much the first run is better than the second.

    Returns:
        Markdown.

    Raises:
        ValueError: a run is of a single fold.
    """
    first, rows = next(iter(runs.values())), []
    numbers = _fold_numbers(experiment, first)
    for name, run in runs.items():
        if _fold_numbers(experiment / name, run) != numbers:
            raise ValueError(f"{experiment / name} is of folds {_fold_numbers(experiment / name, run)}, not {numbers}")
        folds, dice = run.recorded("folds"), run.summary["lesion_only"]["dice"]
        mean = folds["scores"]["dice_lesion_only"]
        validation = statistics.mean(_validation_dice(experiment / name / f"fold_{fold}") for fold in numbers)
        rows.append(
            (
                run.name,
                percent(validation),
                *(percent(fold["scores"]["dice_lesion_only"]) for fold in folds["runs"]),
                f"{percent(mean['mean'])} ± {percent(mean['sd'])}",
                score_interval(dice),
                percent(dice["median"]),
                difference(run, first),
            )
        )
    header = (
        "network",
        "validation",
        *(f"fold {fold}" for fold in numbers),
        "mean of folds",
        "all images",
        "median",
        f"minus {first.name}",
    )
    return markdown_grid(header, rows)


def _fold_numbers(folder: Path, run: Run) -> list[int]:
    folds = run.recorded("folds")
    if not folds:
        raise ValueError(f"{folder} is of a single fold, which is no cross-validation")
    return list(folds["merged"])


def _validation_dice(fold: Path) -> float:
    summary = json.loads((fold / "summary_validation.json").read_text(encoding="utf-8"))
    return float(summary["lesion_only"]["dice"]["mean"])
