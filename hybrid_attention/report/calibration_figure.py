"""Figure of a calibration: reliability, threshold and risk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hybrid_attention.evaluation.calibrate import Calibration, risk_curves
from hybrid_attention.evaluation.ensemble import VariantScores
from hybrid_attention.evaluation.metrics.roc_and_calibration import DEFAULT_THRESHOLD
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
    _draw_threshold(threshold, scores, result.summary["cases"]["validation"]["with_lesion"])
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
    names = {"unscaled": scores.before, f"temperature {scores.temperature:.2f}": scores.after}
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for (name, calibration), colour in zip(names.items(), COLOURS, strict=False):
        bins, label = calibration.curve(), f"{name} (ECE {calibration.expected_error():.4f})"
        axes.plot(bins["mean_probability"], bins["lesion_fraction"], label=label, color=colour, marker="o", ms=3.5)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share of lesion pixels")
    axes.set_title("calibration of test pixels", fontsize=10)


def _draw_threshold(axes: Axes, scores: VariantScores, images: int) -> None:
    threshold, dice, curve = scores.choice
    chosen = f"chosen: {threshold:.2f} (Dice {100 * dice:.1f} %)"
    default = f"{DEFAULT_THRESHOLD} (Dice {100 * scores.validation_dice:.1f} %)"
    axes.plot(curve["threshold"], 100 * curve["dice"], color=COLOURS[0])
    axes.plot(threshold, 100 * dice, "D", color=COLOURS[1], mec="k", label=chosen)
    axes.axvline(DEFAULT_THRESHOLD, color=GREY, lw=0.8, label=default)
    axes.set(xlim=(0, 1), xlabel="threshold on the scaled probability", ylabel="mean Dice (%)")
    axes.set_title(f"{images} validation images with lesion", fontsize=10)


def _draw_risk(axes: Axes, scores: VariantScores) -> None:
    curves = {name: 100 * curve for name, curve in risk_curves(scores).items()}
    perfect = curves.pop("perfect")
    coverage = 100 * np.arange(1, len(perfect) + 1) / len(perfect)
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        axes.plot(coverage, curve, label=f"{name} (AURC {curve.mean():.1f} %)", color=colour, lw=1.4)
    # with all kept, the order does not matter
    axes.axhline(perfect[-1], color=GREY, ls="--", label=f"random ranking ({perfect[-1]:.1f} %)")
    axes.plot(coverage, perfect, color="k", ls=":", label=f"perfect ranking ({perfect.mean():.1f} %)")
    axes.set(xlim=(0, 100), ylim=(0, None), xlabel="kept test images (%)", ylabel="mean risk, 100 - Dice (%)")
    axes.set_title(f"{len(perfect)} test images with lesion, most confident kept", fontsize=10)
