"""Figures of a comparison, for the page and for papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from hybrid_attention.data.extras import how_to_install
from hybrid_attention.evaluation.comparison import FriedmanTest
from hybrid_attention.evaluation.text import number, percent, score_title
from hybrid_attention.report.drawing import GREY, legend, look_of, new_figure, tidy
from hybrid_attention.report.matching import Comparison
from hybrid_attention.report.paired_scores import ClassScores, defined_cases
from hybrid_attention.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def distribution(comparison: Comparison) -> Figure:
    """Draw the scores of all cases, a line of points and a box a run, and the mean as a diamond."""
    runs, generator = comparison.runs, np.random.default_rng(0)
    figure = new_figure(7.0, 1.2 + 0.55 * len(runs))
    axes = figure.subplots()
    for place, run in enumerate(runs):
        values = 100 * np.array([row[comparison.score] for row in defined_cases(run, comparison.score)])
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
        xlabel=f"{score_title(comparison.score).capitalize()} of an image with lesion (%)",
    )
    axes.set_yticks(range(len(runs)), [run.name for run in runs], parse_math=False)
    tidy(axes)
    return figure


def roc(comparison: Comparison) -> Figure | None:
    """Draw the pixel ROC curves, whole and at low false positive rates; None where no run has one."""
    runs = [(index, run) for index, run in enumerate(comparison.runs) if run.roc]
    if not runs:
        return None
    columns = 2 if len(runs) > 4 else 1
    figure = new_figure(8.4, 4.0 + 0.2 * math.ceil(len(runs) / columns))
    whole, corner = figure.subplots(1, 2)
    for index, run in runs:
        points = [(point["false_positive_rate"], point["true_positive_rate"]) for point in run.roc or []]
        label = f"{run.name} (AUC {number(run.recorded('pixel_roc', 'auc'), 4)})"
        for axes in (whole, corner):
            axes.plot(*zip(*points, strict=True), label=label if axes is whole else None, lw=1.6, **look_of(index))
    whole.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    whole.set(xlim=(0, 1), ylim=(0, 1.005), ylabel="true positive rate of pixels", title="whole")
    corner.set(xlim=(0, 0.2), xticks=(0, 0.05, 0.1, 0.15, 0.2), ylim=(0, 1.005), title="false positive rate up to 0.2")
    for axes in (whole, corner):
        axes.set_xlabel("false positive rate of pixels")
        tidy(axes)
    legend(figure, columns)
    return figure


def calibration(comparison: Comparison) -> Figure | None:
    """Draw the reliability curves over the share of pixels in each bin; None where no run has one."""
    runs = [(index, run) for index, run in enumerate(comparison.runs) if run.calibration]
    if not runs:
        return None
    figure = new_figure(5.6, 5.0 + 0.2 * len(runs))
    curve, share = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for index, run in runs:
        bins = [row for row in run.calibration or [] if row["pixels"] > 0]
        means = [row["mean_probability"] for row in bins]
        total = sum(row["pixels"] for row in bins)
        label = f"{run.name} (ECE {number(run.recorded('calibration', 'ece'), 4)})"
        curve.plot(means, [row["lesion_fraction"] for row in bins], label=label, marker="o", ms=3.5, **look_of(index))
        share.plot(means, [row["pixels"] / total for row in bins], marker="o", ms=2.5, lw=1, **look_of(index))
    curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of lesion pixels")
    share.set(yscale="log", xlabel="mean probability of the bin", ylabel="share of pixels")
    for axes in (curve, share):
        tidy(axes)
    legend(figure)
    return figure


def critical_difference(test: FriedmanTest) -> Figure:
    """Draw mean ranks with a bar over the runs that Nemenyi's test can't tell apart.

    Reference:
        J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006) 1–30, figure 1.
    """
    try:
        import pandas as pd
        from scikit_posthocs import critical_difference_diagram
    except ImportError as error:
        raise ImportError(f"the diagram needs scikit-posthocs: {how_to_install('report')}") from error
    names = list(test.mean_ranks)
    matrix = pd.DataFrame(1.0, index=names, columns=names)
    for (first, second), p_value in test.nemenyi.items():
        matrix.loc[first, second] = matrix.loc[second, first] = p_value
    figure = new_figure(8.0, 1.4 + 0.28 * len(names))
    axes = figure.subplots()
    critical_difference_diagram(
        test.mean_ranks,
        matrix,
        ax=axes,
        label_fmt_left="{label} ({rank:.2f})",
        label_fmt_right="({rank:.2f}) {label}",
        color_palette=dict.fromkeys(names, "black"),
    )
    for text in axes.texts:
        text.set_parse_math(False)
    axes.set_title(f"mean rank, 1 is best; critical difference {test.critical_difference:.2f}", fontsize=10)
    return figure


def _matrices(count: int, size: float, draw: Callable[[Axes, int], None]) -> Figure:
    columns = min(count, 5)
    lines = math.ceil(count / columns)
    figure = new_figure(max(4.0, size * columns), size * lines + 0.3)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for index, axes in enumerate(grid):
        if index < count:
            draw(axes, index)
        else:
            axes.set_axis_off()
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


def pixel_confusion(comparison: Comparison) -> Figure:
    """Draw, for each run, which share of all pixels is TP, FP, FN and TN; colour is the share of the line."""

    def draw(axes: Axes, index: int) -> None:
        run = comparison.runs[index]
        sums = {name: sum(row[name] for row in run.rows) for name in ("tp", "fp", "fn", "tn")}
        counts = np.array([[sums["tp"], sums["fn"]], [sums["fp"], sums["tn"]]], dtype=float)
        names = np.array([["TP", "FN"], ["FP", "TN"]])
        texts = np.array(
            [[f"{names[i, j]}\n{100 * counts[i, j] / counts.sum():.2f} %" for j in (0, 1)] for i in (0, 1)]
        )
        _matrix(axes, run.name, _line_shares(counts), texts, ("lesion", "other"))

    return _matrices(len(comparison.runs), 2.3, draw)


def class_confusion(scores: Sequence[tuple[Run, ClassScores]]) -> Figure:
    """Draw the class confusion matrix of each run that predicts classes, in cases; colour is the share of the line."""

    def draw(axes: Axes, index: int) -> None:
        run, result = scores[index]
        counts, ticks = np.array(result["confusion"], dtype=float), range(len(result["confusion"]))
        shares = _line_shares(counts)
        texts = np.array([[f"{counts[i, j]:.0f}\n{100 * shares[i, j]:.0f} %" for j in ticks] for i in ticks])
        title = f"{run.name} ({percent(result['accuracy']['value'])} % right)"
        _matrix(axes, title, shares, texts, result["class_names"])

    return _matrices(len(scores), 2.8, draw)


def _line_shares(counts: np.ndarray) -> np.ndarray:
    sums = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
