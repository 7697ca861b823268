"""Figures of training runs: curves of several runs, and the ROC of training, validation and test images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from hybrid_attention.evaluation.formatting import number
from hybrid_attention.evaluation.results import Evaluation, read_csv, read_evaluation
from hybrid_attention.report.figures import COLOURS, GREY, Drawing, legend, look_of, new_figure, plain, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = ("train", "validation", "test")
_COLUMNS = 3
_NO_CURVES = ("epoch", "learning_rate", "seconds")


def draw_trainings(runs: Sequence[Evaluation]) -> dict[str, Drawing]:
    """Draw the figures for which the runs have files.

    `training` needs `history.csv` in the folder of the evaluation or above it, as a training writes it; `roc_parts`
    needs evaluations of other parts beside the folder, as `--part train` and `--part validation` write them.
    """
    histories = {index: history for index, run in enumerate(runs) if (history := read_history(run)) is not None}
    parts = [found for run in runs if len(found := parts_of(run)) > 1]
    made = {}
    if histories:
        names = {index: f"{runs[index].name}, {len(history)} epochs" for index, history in histories.items()}
        made["training"] = Drawing(
            _curves(histories, names), "Training curves: losses, their terms without weights, and validation scores."
        )
    if parts:
        made["roc_parts"] = Drawing(_roc_of_parts(parts), "ROC curves of all pixels by part of the split.")
    return made


def read_history(run: Evaluation) -> pd.DataFrame | None:
    """Return the `history.csv` of a run's training; None if no history has the run's best epoch."""
    for path in (run.folder / "history.csv", run.folder.resolve().parent / "history.csv"):
        if path.is_file():
            history = read_csv(path)
            best = run.recorded("training", "epoch")
            return history if best is None or best in history["epoch"].tolist() else None
    return None


def parts_of(run: Evaluation) -> dict[str, Evaluation]:
    """Return the evaluations of the same weights on parts of the split, by part, as far as they have an ROC curve."""
    found = {run.recorded("part") or "test": run}
    for part in ("train", "validation"):
        folder = run.folder.with_name(f"{run.folder.name}_{part}")
        if (folder / "per_case.csv").is_file():
            other = dataclasses.replace(read_evaluation(folder), name=run.name)
            if other.record.get("weights_sha256") == run.record.get("weights_sha256"):
                found[part] = other
    return {part: found[part] for part in PARTS if part in found and found[part].roc is not None}


def _curves(histories: dict[int, pd.DataFrame], names: dict[int, str]) -> Figure:
    """Draw a panel per column of the histories, with a line per run."""
    titles = list(dict.fromkeys(column for history in histories.values() for column in history))
    titles = [title for title in titles if title not in _NO_CURVES]
    columns = min(_COLUMNS, len(titles))
    lines = math.ceil(len(titles) / columns)
    figure = new_figure(3.2 * columns, 2.3 * lines + 0.3 + 0.2 * math.ceil(len(names) / 2))
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[len(titles) :]:
        axes.set_axis_off()
    for axes, title in zip(grid, titles, strict=False):
        for index, history in histories.items():
            if title in history:
                marker = "." if len(history) < 2 else None
                label = names[index] if axes is grid[0] else None
                axes.plot(history["epoch"], history[title], lw=1.4, marker=marker, label=label, **look_of(index))
        axes.set_title(title.replace("_", " "), fontsize=10)
        axes.set_xlabel("epoch")
        tidy(axes)
    legend(figure, min(2, len(names)))
    return figure


def _roc_of_parts(models: Sequence[dict[str, Evaluation]]) -> Figure:
    """Draw a panel per model, with a curve per part of the split."""
    columns = min(_COLUMNS, len(models))
    lines = math.ceil(len(models) / columns)
    figure = new_figure(4.2 * columns, 4.0 * lines)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[len(models) :]:
        axes.set_axis_off()
    for axes, parts in zip(grid, models, strict=False):
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        for part, run in parts.items():
            if run.roc is not None:
                label = f"{part} (AUC {number(run.recorded('pixel_roc', 'auc'), 4)})"
                rates = run.roc["false_positive_rate"], run.roc["true_positive_rate"]
                axes.plot(*rates, lw=1.6, label=label, color=COLOURS[PARTS.index(part)])
        axes.set(xlim=(0, 1), ylim=(0, 1.005))
        axes.set(xlabel="false-positive rate of pixels", ylabel="true-positive rate of pixels")
        axes.set_title(next(iter(parts.values())).name, fontsize=10, parse_math=False)
        plain(axes.legend(frameon=False, fontsize=9, loc="lower right"))
        tidy(axes)
    return figure
