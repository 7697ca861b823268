"""Figures of degraded images: what they cost, and what they look like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hybrid_attention.data.dicom import to_tissue
from hybrid_attention.data.files import atomic_path
from hybrid_attention.data.masks import merged_mask, read_mask
from hybrid_attention.data.reading import read_grey
from hybrid_attention.engines.trained_run import TrainedRun
from hybrid_attention.report.drawing import COLOURS, legend, look_of, new_figure, plain, tidy
from hybrid_attention.transforms.corruptions import Corrupt, Corruptd, full_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = (1, 3, 5)  # strengths of the examples
_COLUMNS = 4


def draw_stress(summaries: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw Dice against strength, a panel a kind and a line a run, with its 95 % interval.

    Args:
        summaries: of `stress_summary`, by name of the run, all of the same kinds.

    Returns:
        The figure; strength 0 are the images as they are.
    """
    kinds = list(next(iter(summaries.values()))["kinds"])
    columns = min(_COLUMNS, len(kinds))
    lines = math.ceil(len(kinds) / columns)
    figure = new_figure(max(4.0, 2.3 * columns), 2.1 * lines + 0.3 + 0.2 * len(summaries))
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, kind in zip(grid.ravel(), kinds, strict=False):
        for index, (name, summary) in enumerate(summaries.items()):
            entries = [{**summary["clean"], "strength": 0}, *summary["kinds"][kind]["strengths"]]
            scores = [entry["dice"] or dict.fromkeys(("mean", "low", "high"), math.nan) for entry in entries]
            strengths = [entry["strength"] for entry in entries]
            mean, low, high = (100 * np.array([score[key] for score in scores]) for key in ("mean", "low", "high"))
            axes.fill_between(strengths, low, high, color=look_of(index)["color"], alpha=0.15, lw=0)
            label = name if axes is grid[0, 0] else None
            axes.plot(strengths, mean, marker="o", ms=3, lw=1.6, label=label, **look_of(index))
        axes.set_title(kind, fontsize=10)
        tidy(axes)
    for place, axes in enumerate(grid.ravel()):
        if place >= len(kinds):
            axes.set_axis_off()
        elif place + columns >= len(kinds):  # nothing below
            axes.set_xlabel("strength")
            axes.tick_params(labelbottom=True)
    grid[0, 0].set(xticks=range(6))
    grid[0, 0].set_ylim(bottom=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("Dice (%)")
    if any(summary["synthetic_data"] for summary in summaries.values()):
        figure.suptitle("SYNTHETIC DATA", color=COLOURS[1], fontsize=10)
    legend(figure, min(len(summaries), _COLUMNS))
    return figure


def draw_examples(
    runs: Mapping[str, TrainedRun], case: Mapping[str, Any], kinds: Sequence[str], seed: int = 0
) -> Figure:
    """Draw a case as it is and under each kind of degradation, with true and predicted outlines.

    Args:
        runs: trained networks by name.
        case: of the data list.
        kinds: of `CORRUPTIONS`.
        seed: of the corruptions.

    Returns:
        The figure: a block of `SHOWN` strengths a kind.
    """
    image = read_grey(case["image"]).astype(np.float32)[None]  # (1, W, H)
    masks = np.stack([to_tissue(read_mask(path), case["image"]) for path in case["label"]])
    white, truth = full_scale(image), merged_mask(list(masks)).astype(float)
    lines = math.ceil((len(kinds) + 1) / 2)
    tall = image.shape[2] / image.shape[1]
    figure = new_figure(13.0, lines * (2.1 * tall + 0.35) + 0.3 + 0.2 * (len(runs) + 1) / 4)
    blocks = figure.subfigures(lines, 2, squeeze=False).ravel()

    def draw(axes: Axes, shown: np.ndarray, disturbance: Corruptd | None) -> None:
        axes.imshow(shown[0].T, cmap="gray", vmin=0, vmax=white, extent=(0, shown.shape[1], shown.shape[2], 0))
        _outline(axes, truth, shown.shape[1:], color="white", linestyle=":", linewidth=1.2)
        for index, run in enumerate(runs.values()):
            probability = run.predict([case], disturbance=disturbance)[0].probability[0].numpy()
            _outline(axes, probability, shown.shape[1:], linewidth=1.3, **look_of(index))

    for block, kind in zip(blocks, ["as it is", *kinds], strict=False):
        cells = block.subplots(1, len(SHOWN))
        block.suptitle(kind, fontsize=10)
        for axes, strength in zip(cells, SHOWN, strict=True):
            axes.set_axis_off()
            if kind in kinds:
                degraded = np.asarray(Corrupt(kind, strength, seed)(image, str(case["case_id"]), masks))
                draw(axes, degraded, Corruptd("image", kind, strength, seed))
                axes.set_title(f"strength {strength}", fontsize=8)
        if kind not in kinds:
            draw(cells[0], image, None)
            cells[0].set_title(str(case["case_id"]), fontsize=8, parse_math=False)
            _name_outlines(cells[1], list(runs))
    for block in blocks[len(kinds) + 1 :]:
        block.set_visible(False)
    return figure


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, by rename."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=160)


def _outline(axes: Axes, plane: np.ndarray, size: Sequence[int], **look: Any) -> None:
    """Draw where a plane, (w, h) of any size, crosses one half over an image of `size`, (W, H)."""
    from matplotlib.patheffects import withStroke

    if not plane.min() < 0.5 <= plane.max():
        return
    framed = np.pad(plane, 1)  # so that lines close at the border
    places = [(np.arange(-1, own + 1) + 0.5) * whole / own for own, whole in zip(plane.shape, size, strict=True)]
    style = {"colors": [look["color"]], "linestyles": [look["linestyle"]], "linewidths": [look["linewidth"]]}
    lines = axes.contour(*places, framed.T, levels=[0.5], **style)
    lines.set_path_effects([withStroke(linewidth=look["linewidth"] + 1.4, foreground="black")])
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))


def _name_outlines(axes: Axes, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    looks = {"truth": {"color": "white", "linestyle": ":"}, **{name: look_of(i) for i, name in enumerate(names)}}
    handles = [Line2D([], [], linewidth=1.6, label=name, **look) for name, look in looks.items()]
    plain(axes.legend(handles=handles, loc="center", facecolor="#404040", labelcolor="white", fontsize=9))
