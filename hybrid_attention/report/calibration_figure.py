"""Figure of a calibration: reliability, threshold and risk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_attention.evaluation.calibrate import Calibration, risk_curves
from hybrid_attention.evaluation.ensemble import VariantScores
from hybrid_attention.evaluation.metrics.calibration import DEFAULT_THRESHOLD, PixelCalibration
from hybrid_attention.report.figures import COLOURS, GREY, new_figure, tidy, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def calibration_figure(result: Calibration) -> Figure:
    """Draw calibration, threshold and risk of the best variant on validation.

    From left to right: the share of lesion pixels by predicted probability on the test images, before and after
    temperature scaling; the mean Dice of the validation images by threshold, with the chosen one; the risk–coverage
    curves of the test images, with those of a random and a perfect ranking.
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


def write_calibration_figure(result: Calibration, folder: str | os.PathLike[str]) -> None:
    """Write the figure as `calibration.png` and `calibration.pdf`."""
    figure = calibration_figure(result)
    for suffix in (".pdf", ".png"):
        write_figure(Path(folder) / f"calibration{suffix}", figure)


def _draw_calibration(axes: Axes, scores: VariantScores) -> None:
    def line(name: str, calibration: PixelCalibration, colour: str) -> None:
        bins = calibration.curve()
        axes.plot(
            bins["mean_probability"],
            bins["lesion_fraction"],
            label=f"{name} (ECE {calibration.expected_error():.4f})",
            color=colour,
            marker="o",
            ms=3.5,
        )

    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    line("unscaled", scores.before, COLOURS[0])
    line(f"temperature {scores.temperature:.2f}", scores.after, COLOURS[1])
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share of lesion pixels")
    axes.set_title("calibration of test pixels", fontsize=10)


def _draw_threshold(axes: Axes, scores: VariantScores, result: Calibration) -> None:
    choice = scores.choice
    axes.plot(choice.curve["threshold"], 100 * choice.curve["dice"], color=COLOURS[0])
    axes.plot(
        choice.threshold,
        100 * choice.dice,
        "D",
        color=COLOURS[1],
        mec="k",
        label=f"chosen: {choice.threshold:.2f} (Dice {100 * choice.dice:.1f} %)",
    )
    axes.axvline(
        DEFAULT_THRESHOLD, color=GREY, lw=0.8, label=f"{DEFAULT_THRESHOLD} (Dice {100 * scores.validation_dice:.1f} %)"
    )
    axes.set(xlim=(0, 1), xlabel="threshold on the scaled probability", ylabel="mean Dice (%)")
    images = result.summary["cases"]["validation"]["with_lesion"]
    axes.set_title(f"{images} validation images with lesion", fontsize=10)


def _draw_risk(axes: Axes, scores: VariantScores) -> None:
    curves = risk_curves(scores)
    perfect = curves.pop("perfect")
    coverage = [100 * kept / len(perfect.risk) for kept in range(1, len(perfect.risk) + 1)]
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        label = f"{name} (AURC {100 * curve.area:.1f} %)"
        axes.plot(coverage, [100 * risk for risk in curve.risk], label=label, color=colour, lw=1.4)
    axes.axhline(100 * perfect.random, color=GREY, ls="--", label=f"random ranking ({100 * perfect.random:.1f} %)")
    axes.plot(
        coverage,
        [100 * one for one in perfect.risk],
        color="k",
        ls=":",
        label=f"perfect ranking ({100 * perfect.area:.1f} %)",
    )
    axes.set(xlim=(0, 100), ylim=(0, None), xlabel="kept test images (%)", ylabel="mean risk, 100 - Dice (%)")
    axes.set_title(f"{len(perfect.risk)} test images with lesion, most confident kept", fontsize=10)
