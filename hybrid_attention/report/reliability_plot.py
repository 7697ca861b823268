"""One figure of what `hybrid-attention reliability` found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_attention.data.files import atomic_path
from hybrid_attention.evaluation.calibration import PixelCalibration
from hybrid_attention.evaluation.reliability import Reliability
from hybrid_attention.evaluation.reliability_tables import perfect_curve, risk_curves
from hybrid_attention.evaluation.threshold import USUAL
from hybrid_attention.evaluation.variants import VariantScores
from hybrid_attention.report.drawing import COLOURS, GREY, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def reliability_figure(result: Reliability) -> Figure:
    """Draw calibration, threshold and risk of the best variant on validation.

    From left to right: the share of lesion pixels by predicted probability on the test images, before and after
    temperature scaling; the mean Dice of the validation images by threshold, with the chosen one; the mean risk of
    the test images that stay when the least confident are left out, with a random and the perfect order.

    Args:
        result: from `reliability`.

    Returns:
        The figure, for `savefig`.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure = new_figure(12.6, 5.2)
    scores = result.scores[result.best]
    calibration, threshold, risk = figure.subplots(1, 3)
    _draw_calibration(calibration, scores)
    _draw_threshold(threshold, scores, result)
    _draw_risk(risk, scores)
    for axes in (calibration, threshold, risk):
        tidy(axes)
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    synthetic = " (SYNTHETIC DATA)" if result.summary["synthetic_data"] else ""
    runs = ", ".join(scores.variant.runs)
    figure.suptitle(f"{result.best} ({runs}){synthetic}", parse_math=False)
    return figure


def write_reliability_figure(result: Reliability, folder: str | os.PathLike[str]) -> Path:
    """Write the figure as `reliability.png` and `reliability.pdf`.

    Args:
        result: from `reliability`.
        folder: of its files.

    Returns:
        The path of the PNG.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure = reliability_figure(result)
    for kind in ("pdf", "png"):
        path = Path(folder) / f"reliability.{kind}"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=160)
    return path


def _draw_calibration(axes: Axes, scores: VariantScores) -> None:
    def line(name: str, calibration: PixelCalibration, colour: str) -> None:
        bins = calibration.curve()
        axes.plot(
            [row["mean_probability"] for row in bins],
            [row["lesion_fraction"] for row in bins],
            label=f"{name} (ECE {calibration.expected_error():.4f})",
            color=colour,
            marker="o",
            ms=3.5,
        )

    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    line("as predicted", scores.before, COLOURS[0])
    line(f"temperature {scores.temperature:.2f}", scores.after, COLOURS[1])
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share of lesion pixels")
    axes.set_title("calibration of test pixels", fontsize=10)


def _draw_threshold(axes: Axes, scores: VariantScores, result: Reliability) -> None:
    choice = scores.choice
    rows = choice.curve
    axes.plot([row["threshold"] for row in rows], [100 * row["dice"] for row in rows], color=COLOURS[0])
    axes.plot(
        choice.threshold,
        100 * choice.dice,
        "D",
        color=COLOURS[1],
        mec="k",
        label=f"chosen: {choice.threshold:.2f} (Dice {100 * choice.dice:.1f} %)",
    )
    axes.axvline(USUAL, color=GREY, lw=0.8, label=f"{USUAL} (Dice {100 * scores.validation_dice:.1f} %)")
    axes.set(xlim=(0, 1), xlabel="threshold on the scaled probability", ylabel="mean Dice (%)")
    images = result.summary["cases"]["validation"]["with_lesion"]
    axes.set_title(f"{images} validation images with lesion", fontsize=10)


def _draw_risk(axes: Axes, scores: VariantScores) -> None:
    perfect = perfect_curve(scores)
    coverage = [100 * kept / len(perfect.risk) for kept in range(1, len(perfect.risk) + 1)]
    for (name, curve), colour in zip(risk_curves(scores).items(), COLOURS, strict=False):
        label = f"{name} (AURC {100 * curve.area:.1f} %)"
        axes.plot(coverage, [100 * risk for risk in curve.risk], label=label, color=colour, lw=1.4)
    axes.axhline(100 * perfect.random, color=GREY, ls="--", label=f"random order ({100 * perfect.random:.1f} %)")
    axes.plot(
        coverage,
        [100 * one for one in perfect.risk],
        color="k",
        ls=":",
        label=f"perfect order ({100 * perfect.area:.1f} %)",
    )
    axes.set(xlim=(0, 100), ylim=(0, None), xlabel="kept test images (%)", ylabel="mean of 100 minus Dice (%)")
    axes.set_title(f"{len(perfect.risk)} test images with lesion, the surest kept", fontsize=10)
