"""Figures of a comparison, and helpers shared by all figures."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hybrid_attention.data.writing import atomic_path
from hybrid_attention.evaluation.formatting import number, percent, score_title
from hybrid_attention.evaluation.metrics.segmentation import has_lesion
from hybrid_attention.evaluation.results import Evaluation, read_csv, read_evaluation
from hybrid_attention.evaluation.statistics import FriedmanTest
from hybrid_attention.report.matched_runs import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

# safe for colour-blind readers: M. Okabe, K. Ito, "Color Universal Design", 2008
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#999999"  # reference lines
FIGURES = tuple(
    "distribution roc calibration critical_difference pixel_confusion class_confusion training roc_parts cases gradcam "
    "edges samples".split()
)
_LINES = ("-", "--", "-.", ":")
_PARTS = ("train", "validation", "test")
_COLUMNS = 3  # of panels
_NO_CURVES = ("epoch", "learning_rate", "seconds")  # columns of a history


@dataclass(frozen=True)
class Drawing:
    """A figure of a comparison, and its caption of one sentence."""

    figure: Figure
    caption: str

    @property
    def width(self) -> int:
        """Width on the page, in CSS pixels."""
        return round(80 * self.figure.get_figwidth())

    @cached_property
    def png(self) -> bytes:
        """The figure as PNG."""
        data = io.BytesIO()
        self.figure.savefig(data, format="png", dpi=160)
        return data.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches; the page shows 80 pixels per inch."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def panels(
    count: int, columns: int, width: float, height: float, extra: float = 0, share: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels of `width` x `height` inches in rows, and their axes.

    `extra` is the height of the figure beyond its panels, `share` gives them the same axes.
    """
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    figure = new_figure(max(4.0, width * columns), height * lines + extra)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=share, sharey=share).ravel()
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, list(grid[:count])


def look_of(index: int) -> dict[str, Any]:
    """Return the colour and line style of a run."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": _LINES[index // len(COLOURS) % len(_LINES)]}


def tidy(axes: Axes) -> None:
    """Remove the top and right spines, and draw a grid below everything else."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def legend(figure: Figure, columns: int = 1) -> None:
    """Draw the legend of all axes below them."""
    plain(figure.legend(loc="outside lower center", frameon=False, fontsize=9, ncols=columns))


def plain(names: Legend) -> None:
    """Show names literally, without parsing dollar signs as formulas."""
    for text in names.get_texts():
        text.set_parse_math(False)


def draw_comparison(
    comparison: Comparison, test: FriedmanTest | None, classes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Drawing]:
    """Draw all figures for which the runs have data; `classes` holds the `class_summary` of those that predict them."""
    made: dict[str, tuple[Figure | None, str]] = {
        "distribution": (
            _distribution(comparison),
            f"{score_title(comparison.score).capitalize()} of each image with lesion; box: quartiles, diamond: mean.",
        ),
        "roc": (_roc(comparison), "ROC curves of all pixels."),
        "calibration": (
            _calibration(comparison),
            "Reliability: share of lesion pixels by predicted probability; below, the share of pixels per bin.",
        ),
        "critical_difference": (
            _critical_difference(test) if test else None,
            "Mean ranks; a bar joins runs without a significant difference in Nemenyi's test.",
        ),
        "pixel_confusion": (
            _pixel_confusion(comparison),
            "Confusion matrix of pixels in percent of all pixels; colours are shares per row.",
        ),
        "class_confusion": (
            _class_confusion(classes) if classes else None,
            "Confusion matrix of classes: number of images, and share per row (also shown by the colour).",
        ),
    }
    return {name: Drawing(figure, caption) for name, (figure, caption) in made.items() if figure is not None}


def write_figures(folder: Path, drawings: Mapping[str, Drawing]) -> None:
    """Write each figure as PNG and PDF, and remove those of an earlier report."""
    for name in FIGURES:
        png, pdf = folder / f"{name}.png", folder / f"{name}.pdf"
        if name in drawings:
            with atomic_path(png) as temporary:
                temporary.write_bytes(drawings[name].png)
            write_figure(pdf, drawings[name].figure)
        else:
            png.unlink(missing_ok=True)
            pdf.unlink(missing_ok=True)


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG or PDF, by rename."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=160)


def _distribution(comparison: Comparison) -> Figure:
    """Draw the scores of all cases: points and a box per run, and a diamond at the mean."""
    runs, generator = comparison.runs, np.random.default_rng(0)
    figure = new_figure(7.0, 1.2 + 0.55 * len(runs))
    axes = figure.subplots()
    for place, run in enumerate(runs):
        values = 100 * run.cases[comparison.score][has_lesion(run.cases)].dropna().to_numpy()
        if len(values) == 0:
            continue
        axes.scatter(values, place + generator.uniform(-0.28, 0.28, len(values)), s=10, alpha=0.5, lw=0, c="#0072B2")
        axes.boxplot(
            values, positions=[place], widths=0.6, orientation="horizontal", showfliers=False, medianprops={"c": "k"}
        )
        axes.plot(values.mean(), place, marker="D", ms=6, mfc="#E69F00", mec="k", zorder=4)
    axes.set(
        xlim=(-2, 102),
        ylim=(len(runs) - 0.4, -0.6),
        xlabel=f"{score_title(comparison.score).capitalize()} per image with lesion (%)",
    )
    axes.set_yticks(range(len(runs)), [run.name for run in runs], parse_math=False)
    tidy(axes)
    return figure


def _roc(comparison: Comparison) -> Figure | None:
    """Draw the pixel ROC curves, whole and at low false-positive rates; None if no run has one."""
    runs = [(index, run) for index, run in enumerate(comparison.runs) if run.roc is not None]
    if not runs:
        return None
    columns = 2 if len(runs) > 4 else 1
    figure = new_figure(8.4, 4.0 + 0.2 * math.ceil(len(runs) / columns))
    whole, corner = figure.subplots(1, 2)
    for index, run in runs:
        _plot_roc(whole, run, run.name, **look_of(index))
        _plot_roc(corner, run, None, **look_of(index))
    whole.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    whole.set(xlim=(0, 1), ylabel="true-positive rate of pixels", title="whole")
    corner.set(xlim=(0, 0.2), xticks=(0, 0.05, 0.1, 0.15, 0.2), title="false-positive rate up to 0.2")
    legend(figure, columns)
    return figure


def _plot_roc(axes: Axes, run: Evaluation, name: str | None, **look: Any) -> None:
    if run.roc is not None:
        label = name and f"{name} (AUC {number(run.recorded('pixel_roc', 'auc'), 4)})"
        axes.plot(run.roc["false_positive_rate"], run.roc["true_positive_rate"], label=label, lw=1.6, **look)
    axes.set(ylim=(0, 1.005), xlabel="false-positive rate of pixels")
    tidy(axes)


def _calibration(comparison: Comparison) -> Figure | None:
    """Draw the reliability curves above the share of pixels per bin; None if no run has one."""
    runs = [(index, run, run.calibration) for index, run in enumerate(comparison.runs) if run.calibration is not None]
    if not runs:
        return None
    figure = new_figure(5.6, 5.0 + 0.2 * len(runs))
    curve, share = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for index, run, bins in runs:
        label = f"{run.name} (ECE {number(run.recorded('calibration', 'ece'), 4)})"
        means, pixels = bins["mean_probability"], bins["pixels"]
        curve.plot(means, bins["lesion_fraction"], label=label, marker="o", ms=3.5, **look_of(index))
        share.plot(means, pixels / pixels.sum(), marker="o", ms=2.5, lw=1, **look_of(index))
    curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of lesion pixels")
    share.set(yscale="log", xlabel="mean probability of the bin", ylabel="share of pixels")
    for axes in (curve, share):
        tidy(axes)
    legend(figure)
    return figure


def _critical_difference(test: FriedmanTest) -> Figure:
    """Draw mean ranks, with bars that join runs without a significant difference in Nemenyi's test.

    Reference:
        J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006) 1–30, figure 1.
    """
    from scikit_posthocs import critical_difference_diagram

    names = list(test.mean_ranks)
    figure = new_figure(8.0, 1.4 + 0.28 * len(names))
    axes = figure.subplots()
    critical_difference_diagram(
        test.mean_ranks,
        test.nemenyi,
        ax=axes,
        label_fmt_left="{label} ({rank:.2f})",
        label_fmt_right="({rank:.2f}) {label}",
        color_palette=dict.fromkeys(names, "black"),
    )
    for text in axes.texts:
        text.set_parse_math(False)
    axes.set_title(f"mean rank, 1 is best; critical difference {test.critical_difference:.2f}", fontsize=10)
    return figure


def _matrix(axes: Axes, title: str, shares: np.ndarray, texts: np.ndarray, ticks: Sequence[str]) -> None:
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (line, column), text in np.ndenumerate(texts):
        colour = "white" if shares[line, column] > 0.6 else "black"
        axes.text(column, line, text, ha="center", va="center", color=colour, fontsize=8)
    places = range(len(ticks))
    axes.set_xticks(places, ticks, fontsize=8, rotation=30 if max(map(len, ticks)) > 5 else 0)
    axes.set_yticks(places, ticks, fontsize=8)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("truth", fontsize=8)
    axes.set_title(title, fontsize=9, parse_math=False)


def _pixel_confusion(comparison: Comparison) -> Figure:
    figure, grid = panels(len(comparison.runs), 5, 2.3, 2.3, 0.3)
    for axes, run in zip(grid, comparison.runs, strict=True):
        counts = run.cases[["tp", "fn", "fp", "tn"]].sum().to_numpy(float)
        shares = zip(("TP", "FN", "FP", "TN"), 100 * counts / counts.sum(), strict=True)
        texts = np.reshape([f"{name}\n{share:.2f} %" for name, share in shares], (2, 2))
        _matrix(axes, run.name, _line_shares(counts.reshape(2, 2)), texts, ("lesion", "other"))
    return figure


def _class_confusion(classes: Mapping[str, Mapping[str, Any]]) -> Figure:
    figure, grid = panels(len(classes), 5, 2.8, 2.8, 0.3)
    for axes, (run, result) in zip(grid, classes.items(), strict=True):
        counts = np.array(result["confusion"], dtype=float)
        shares = _line_shares(counts)
        pairs = zip(counts.ravel(), 100 * shares.ravel(), strict=True)
        texts = np.reshape([f"{count:.0f}\n{share:.0f} %" for count, share in pairs], counts.shape)
        title = f"{run} ({percent(result['accuracy']['value'])} % correct)"
        _matrix(axes, title, shares, texts, result["class_names"])
    return figure


def _line_shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


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
        text = "Training curves: losses, their terms without weights, and validation scores."
        made["training"] = Drawing(_curves(histories, names), text)
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
    found = {run.part: run}
    for part in ("train", "validation"):
        folder = run.folder.with_name(f"{run.folder.name}_{part}")
        if (folder / "per_case.csv").is_file():
            other = dataclasses.replace(read_evaluation(folder), name=run.name)
            if other.record.get("weights_sha256") == run.record.get("weights_sha256"):
                found[part] = other
    return {part: found[part] for part in _PARTS if part in found and found[part].roc is not None}


def _curves(histories: dict[int, pd.DataFrame], names: dict[int, str]) -> Figure:
    titles = list(dict.fromkeys(column for history in histories.values() for column in history))
    titles = [title for title in titles if title not in _NO_CURVES]
    figure, grid = panels(len(titles), _COLUMNS, 3.2, 2.3, 0.3 + 0.2 * math.ceil(len(names) / 2))
    for axes, title in zip(grid, titles, strict=True):
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
    figure, grid = panels(len(models), _COLUMNS, 4.2, 4.0)
    for axes, parts in zip(grid, models, strict=True):
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        for part, run in parts.items():
            _plot_roc(axes, run, part, color=COLOURS[_PARTS.index(part)])
        axes.set(xlim=(0, 1), ylabel="true-positive rate of pixels")
        axes.set_title(next(iter(parts.values())).name, fontsize=10, parse_math=False)
        plain(axes.legend(frameon=False, fontsize=9, loc="lower right"))
    return figure
