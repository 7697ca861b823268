"""The figures of a report: which it has, and their files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_attention.evaluation.comparison import FriedmanTest
from hybrid_attention.evaluation.text import score_title
from hybrid_attention.report.figures import (
    calibration,
    class_confusion,
    critical_difference,
    distribution,
    pixel_confusion,
    roc,
)
from hybrid_attention.report.matching import Comparison
from hybrid_attention.report.page import Drawing
from hybrid_attention.report.paired_scores import ClassScores
from hybrid_attention.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("distribution", "roc", "calibration", "critical_difference", "pixel_confusion", "class_confusion")


def drawn_figures(
    comparison: Comparison, test: FriedmanTest | None, classes: Sequence[tuple[Run, ClassScores]]
) -> dict[str, tuple[Figure, str]]:
    """Draw all figures that the runs have something for.

    Args:
        comparison: the runs.
        test: of three runs or more.
        classes: the runs that predict classes, and how well.

    Returns:
        Figure and caption by name.
    """
    made: dict[str, tuple[Figure | None, str]] = {
        "distribution": (
            distribution(comparison),
            f"{score_title(comparison.score).capitalize()} of each image with lesion; box: quartiles, diamond: mean.",
        ),
        "roc": (roc(comparison), "ROC curves of all pixels."),
        "calibration": (
            calibration(comparison),
            "Reliability: share of lesion pixels by predicted probability; below, how many pixels stand behind it.",
        ),
        "critical_difference": (
            critical_difference(test) if test else None,
            "Mean ranks; a bar joins runs that Nemenyi's test can't tell apart.",
        ),
        "pixel_confusion": (
            pixel_confusion(comparison),
            "Confusion of pixels, shares of all pixels of all images; the colour is the share of its line.",
        ),
        "class_confusion": (
            class_confusion(classes) if classes else None,
            "Confusion of classes: images, and their share of the line, which the colour shows too.",
        ),
    }
    return {name: (figure, caption) for name, (figure, caption) in made.items() if figure is not None}


def write_figures(folder: Path, drawn: Mapping[str, tuple[Figure, str]]) -> dict[str, Drawing]:
    """Write each figure as PNG and PDF.

    Args:
        folder: new.
        drawn: from `drawn_figures`.

    Returns:
        By name, what the page shows.
    """
    folder.mkdir()
    pictures: dict[str, Drawing] = {}
    for name, (figure, caption) in drawn.items():
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=160)
        (folder / f"{name}.png").write_bytes(data.getvalue())
        figure.savefig(folder / f"{name}.pdf")
        pictures[name] = Drawing(name, data.getvalue(), caption, round(80 * figure.get_figwidth()))
    return pictures
