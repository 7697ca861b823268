"""Figures of single cases: predictions of several runs, Grad-CAM, the edge channel, and samples of the data set."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from hybrid_attention.evaluation.formatting import percent, score_title
from hybrid_attention.evaluation.metrics.segmentation import has_lesion
from hybrid_attention.evaluation.results import Evaluation, picture_path
from hybrid_attention.prediction.overlay import draw_overlay
from hybrid_attention.report.figures import Drawing, new_figure
from hybrid_attention.report.matched_runs import Comparison, paired_scores
from hybrid_attention.report.page import read_picture
from hybrid_attention.transforms import GaussianDerivativeMagnitude
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_MODELS = 10  # in a grid
SAMPLES = 4  # of each class
_CELL = 1.6  # inches
_TRUTH = "#00dc00"


def draw_cases(
    comparison: Comparison, kinds: Mapping[str, Sequence[str]], wanted: Sequence[str] = ()
) -> dict[str, Drawing]:
    """Draw the figures of cases for which the runs have pictures: `cases`, `gradcam`, `edges` and `samples`.

    Args:
        comparison: the runs.
        kinds: by run, its `picture_kinds`.
        wanted: cases to draw; without any, those with the best, median and worst score, the mean over the runs, and for
            more than ten models neither `cases` nor `gradcam`.
    """
    runs = [run for run in comparison.runs if kinds[run.name]]
    if wanted and not runs:
        raise ValueError("no run has pictures of its cases: evaluate again, or leave the cases out")
    if wanted and len(runs) > MAX_MODELS:
        raise ValueError(f"a grid of cases shows at most {MAX_MODELS} models, got {len(runs)}: compare fewer runs")
    if not runs:
        return {}
    known = comparison.runs[0].cases["case_id"].tolist()
    for case in wanted:
        if case not in known:
            similar = ", ".join(difflib.get_close_matches(case, known, n=3)) or known[0]
            raise ValueError(f"no case {case!r} in the runs; similar ones: {similar}")
    cases = {case: case for case in wanted} or typical_cases(comparison)
    made: dict[str, tuple[Figure | None, str]] = {"samples": (_samples(runs[0]), "Images, with the true outline.")}
    if cases:
        edges = next((run for run in runs if run.recorded("settings", "edge_channel")), None)
        if edges is not None:
            sigma = edges.recorded("settings", "edge_sigma")
            text = f"Image, and the magnitude of its Gaussian derivatives (sigma {sigma:g} pixels), the second channel."
            made["edges"] = _edges(edges, cases, sigma), text
    if cases and len(runs) <= MAX_MODELS:
        score = score_title(comparison.score)
        text = f"True positives green, false positives red, false negatives blue; numbers: {score} in percent."
        made["cases"] = _grid(runs, cases, comparison.score), text
        heated = [run for run in runs if "gradcam" in kinds[run.name]]
        if heated:
            made["gradcam"] = _heat(heated, cases), "Predictions and Grad-CAM, divided by its maximum."
    return {name: Drawing(figure, caption) for name, (figure, caption) in made.items() if figure is not None}


def typical_cases(comparison: Comparison) -> dict[str, str]:
    """Return the lesion cases with the "best", "median" and "worst" mean score over the runs, as far as there are."""
    paired = paired_scores(comparison)
    means = np.mean(list(paired.scores.values()), axis=0)
    order = [paired.cases[index] for index in np.argsort(-means, kind="stable")]
    chosen = {order[0]: "best", order[len(order) // 2]: "median", order[-1]: "worst"} if order else {}
    return {title: case for case, title in chosen.items()}


def _grid(runs: Sequence[Evaluation], cases: Mapping[str, str], score: str) -> Figure:
    """Draw image, truth and the mask of each run, one row per case."""
    figure, cells = _table(["image", "truth", *(run.name for run in runs)], cases)
    for line, case in zip(cells, cases.values(), strict=True):
        _show(line, runs[0], case)
        for axes, run in zip(line[2:], runs, strict=True):
            image, mask, truth = (_plane(run, kind, case) for kind in ("images", "masks", "truths"))
            axes.imshow(draw_overlay(image, mask > 127, truth > 127))
            row = _row(run, case)
            axes.set_xlabel(percent(row[score]) if has_lesion(row) else "no lesion", fontsize=8)
    return figure


def _heat(runs: Sequence[Evaluation], cases: Mapping[str, str]) -> Figure:
    """Draw image and truth, then mask and Grad-CAM of each run, one row per case."""
    from matplotlib.cm import ScalarMappable

    columns = [title for run in runs for title in (run.name, "Grad-CAM")]
    figure, cells = _table(["image", "truth", *columns], cases)
    for line, case in zip(cells, cases.values(), strict=True):
        image = _show(line, runs[0], case)
        for mask, heat, run in zip(line[2::2], line[3::2], runs, strict=True):
            mask.imshow(_plane(run, "masks", case), cmap="gray")
            heat.imshow(image, cmap="gray")
            if picture_path(run.folder, "gradcam", case).is_file():
                warmth = _plane(run, "gradcam", case) / 255
                extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
                heat.imshow(warmth, cmap="inferno", alpha=0.5, vmin=0, vmax=1, extent=extent)
            else:
                heat.set_xlabel("empty mask", fontsize=8)
    figure.colorbar(ScalarMappable(cmap="inferno"), ax=cells, shrink=0.6, label="Grad-CAM")  # from 0 to 1
    return figure


def _edges(run: Evaluation, cases: Mapping[str, str], sigma: float) -> Figure:
    """Draw image and magnitude of its Gaussian derivatives at the size that the network sees, one row per case."""
    figure, cells = _table(["image", "Gaussian derivative"], cases)
    size = run.recorded("settings", "image_size")
    for line, case in zip(cells, cases.values(), strict=True):
        picture = read_picture(run, "images", _row(run, case)).resize((size, size), Image.Resampling.BILINEAR)
        image = np.asarray(picture, dtype=np.float32) / 255
        line[0].imshow(image, cmap="gray")
        magnitude = np.asarray(GaussianDerivativeMagnitude(sigma)(image[None]))[0]
        figure.colorbar(line[1].imshow(magnitude, cmap="inferno", vmin=0), ax=line[1], shrink=0.8)
    return figure


def _samples(run: Evaluation) -> Figure:
    """Draw some images of each class, evenly spread over the cases, one row per class."""
    classes = {name: own["case_id"].tolist() for name, own in run.cases.groupby("class", sort=False)}
    figure, cells = _table([""] * SAMPLES, classes)
    for line, cases in zip(cells, classes.values(), strict=True):
        chosen = cases[:: max(1, len(cases) // SAMPLES)][:SAMPLES]
        for axes in line[len(chosen) :]:
            axes.set_visible(False)
        for axes, case in zip(line, chosen, strict=False):
            axes.imshow(_plane(run, "images", case), cmap="gray")
            truth = _plane(run, "truths", case)
            if truth.any():
                axes.contour(truth, levels=[127], colors=[_TRUTH], linewidths=1)
            axes.set_xlabel(case, fontsize=6, parse_math=False)
    return figure


def _table(columns: Sequence[str], rows: Mapping[str, Any]) -> tuple[Figure, np.ndarray]:
    """Return a figure with a grid of axes without ticks, with titles of columns and rows."""
    figure = new_figure(_CELL * len(columns) + 0.5, _CELL * len(rows) + 0.4)
    cells = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes in cells.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, title in zip(cells[0], columns, strict=True):
        axes.set_title(title, fontsize=9, parse_math=False, wrap=True)
    for axes, (title, case) in zip(cells[:, 0], rows.items(), strict=True):
        text = f"{title}\n{case}" if isinstance(case, str) and case != title else title
        axes.set_ylabel(text, fontsize=7, parse_math=False)
    return figure, cells


def _show(line: Sequence[Axes], run: Evaluation, case: str) -> np.ndarray:
    """Draw image and truth, and return the image."""
    image = _plane(run, "images", case)
    line[0].imshow(image, cmap="gray")
    line[1].imshow(_plane(run, "truths", case), cmap="gray")
    return image


def _row(run: Evaluation, case: str) -> Mapping[str, Any]:
    found: dict[str, Any] = run.cases[run.cases["case_id"] == case].iloc[0].to_dict()
    return found


def _plane(run: Evaluation, kind: str, case: str) -> np.ndarray:
    return np.asarray(read_picture(run, kind, _row(run, case)), dtype=np.float32)
