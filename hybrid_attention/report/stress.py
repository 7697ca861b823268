"""Report on the robustness of trained networks to degraded images."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hybrid_attention.data.writing import prepare_output_folder
from hybrid_attention.engines.trained_model import TrainedModel
from hybrid_attention.evaluation.case_scores import image_and_truth
from hybrid_attention.evaluation.ensemble import open_runs
from hybrid_attention.evaluation.formatting import plural
from hybrid_attention.evaluation.metrics.segmentation import has_lesion
from hybrid_attention.evaluation.stress import CLEAN, checked_kinds, stress_test
from hybrid_attention.report.figures import COLOURS, legend, look_of, new_figure, panels, plain, tidy, write_figure
from hybrid_attention.transforms.corruptions import Corrupt, Corruptd, full_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = (1, 3, 5)  # strengths of the examples
_COLUMNS = 4

logger = logging.getLogger(__name__)


def stress(
    runs: Sequence[str | os.PathLike[str]],
    dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    part: str = "test",
    kinds: Sequence[str] | None = None,
    seed: int = 0,
    groups_csv: str | os.PathLike[str] | None = None,
    split_csv: str | os.PathLike[str] | None = None,
) -> Path:
    """Test trained networks on degraded images.

    Writes `stress.csv`, `summary.json` and `summary.md` of each run to `out/NAME/`, and the figures `stress.png` (Dice
    against strength) and `examples.png` (a case at the upper quartile of the first network's Dice, degraded, with the
    outlines of all networks) to `out`.

    The arguments are those of `open_runs` and `stress_test`.

    Raises:
        FileNotFoundError: a run has no weights or no record.
        ValueError: a run or name is given twice, the runs differ in cases, a name is not valid for a folder, or a kind
            is unknown.
    """
    kinds = checked_kinds(kinds)
    trained = open_runs(runs, dataset_dir, groups_csv=groups_csv, split_csv=split_csv)
    for name in trained:
        if Path(name).is_absolute() or ".." in Path(name).parts or Path(name) == Path():
            raise ValueError(f"a run is FOLDER or NAME=FOLDER, where NAME can name a folder, got {name!r}")
    folder = prepare_output_folder(out)
    cases = {name: [case["case_id"] for case in run.cases(part)] for name, run in trained.items()}
    first = next(iter(cases))
    for name, own in cases.items():
        if own != cases[first]:
            raise ValueError(
                f"{name} and {first} have different {part} images ({len(own)} and {len(cases[first])}): "
                "test only runs of the same split together"
            )
    tests = {}
    for name, run in trained.items():
        logger.info("%s: %s of degradation at 5 strengths", name, plural(len(kinds), "kind"))
        tests[name] = stress_test(run, folder / name, part, kinds, seed)
    write_figure(folder / "stress.png", draw_stress({name: summary for name, (_, summary) in tests.items()}))
    scored = tests[first][0]
    clean = scored[scored["kind"] == CLEAN]
    dice = clean["dice"][has_lesion(clean)]
    place = 0 if dice.empty else (dice - dice.quantile(0.75)).abs().idxmin()
    case = trained[first].cases(part)[clean.index.get_loc(place)]
    write_figure(folder / "examples.png", draw_examples(trained, case, kinds, seed))
    return folder


def draw_stress(summaries: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw Dice against strength, one panel per kind and one line per run, with its 95 % interval.

    The summaries are from `stress_summary`, by run, all of the same kinds; strength 0 is the undegraded image.
    """
    kinds = list(next(iter(summaries.values()))["kinds"])
    extra = 0.3 + 0.2 * len(summaries)
    figure, grid = panels(len(kinds), _COLUMNS, 2.3, 2.1, extra, share=True)
    for place, (axes, kind) in enumerate(zip(grid, kinds, strict=True)):
        for index, (name, summary) in enumerate(summaries.items()):
            entries = [{**summary["clean"], "strength": 0}, *summary["kinds"][kind]["strengths"]]
            scores = [entry["dice"] or dict.fromkeys(("mean", "low", "high"), math.nan) for entry in entries]
            strengths = [entry["strength"] for entry in entries]
            mean, low, high = (100 * np.array([score[key] for score in scores]) for key in ("mean", "low", "high"))
            axes.fill_between(strengths, low, high, color=look_of(index)["color"], alpha=0.15, lw=0)
            axes.plot(strengths, mean, marker="o", ms=3, lw=1.6, label=None if place else name, **look_of(index))
        axes.set_title(kind, fontsize=10)
        tidy(axes)
        if place % _COLUMNS == 0:
            axes.set_ylabel("Dice (%)")
        if place + _COLUMNS >= len(kinds):  # nothing below
            axes.set_xlabel("strength")
            axes.tick_params(labelbottom=True)
    grid[0].set(xticks=range(6))
    grid[0].set_ylim(bottom=0)
    if any(summary["synthetic_data"] for summary in summaries.values()):
        figure.suptitle("SYNTHETIC DATA", color=COLOURS[1], fontsize=10)
    legend(figure, min(len(summaries), _COLUMNS))
    return figure


def draw_examples(
    runs: Mapping[str, TrainedModel], case: Mapping[str, Any], kinds: Sequence[str], seed: int = 0
) -> Figure:
    """Draw a case without and with each kind of degradation at `SHOWN` strengths, with true and predicted outlines."""
    image, truth = (plane.numpy() for plane in image_and_truth(case))  # (1, H, W)
    white = full_scale(image)
    lines = math.ceil((len(kinds) + 1) / 2)
    tall = image.shape[1] / image.shape[2]
    figure = new_figure(13.0, lines * (2.1 * tall + 0.35) + 0.3 + 0.2 * (len(runs) + 1) / 4)
    blocks = figure.subfigures(lines, 2, squeeze=False).ravel()

    def draw(axes: Axes, shown: np.ndarray, disturbance: Corruptd | None) -> None:
        axes.imshow(shown[0], cmap="gray", vmin=0, vmax=white, extent=(0, shown.shape[2], shown.shape[1], 0))
        _outline(axes, truth[0], shown.shape[1:], color="white", linestyle=":", linewidth=1.2)
        for index, run in enumerate(runs.values()):
            probability = run.predict([case], disturbance=disturbance)[0].probability[0].numpy()
            _outline(axes, probability, shown.shape[1:], linewidth=1.3, **look_of(index))

    for block, kind in zip(blocks, ["undegraded", *kinds], strict=False):
        cells = block.subplots(1, len(SHOWN))
        block.suptitle(kind, fontsize=10)
        for axes, strength in zip(cells, SHOWN, strict=True):
            axes.set_axis_off()
            if kind in kinds:
                degraded = np.asarray(Corrupt(kind, strength, seed)(image, str(case["case_id"]), truth))
                draw(axes, degraded, Corruptd("image", kind, strength, seed))
                axes.set_title(f"strength {strength}", fontsize=8)
        if kind not in kinds:
            draw(cells[0], image, None)
            cells[0].set_title(str(case["case_id"]), fontsize=8, parse_math=False)
            _name_outlines(cells[1], list(runs))
    for block in blocks[len(kinds) + 1 :]:
        block.set_visible(False)
    return figure


def _outline(axes: Axes, plane: np.ndarray, size: Sequence[int], **look: Any) -> None:
    """Draw the contour of a plane, (h, w), at 0.5 over an image of `size`, (H, W)."""
    from matplotlib.patheffects import withStroke

    if not plane.min() < 0.5 <= plane.max():
        return
    framed = np.pad(plane, 1)  # closes the lines at the border
    rows, columns = [(np.arange(-1, own + 1) + 0.5) * whole / own for own, whole in zip(plane.shape, size, strict=True)]
    style = {"colors": [look["color"]], "linestyles": [look["linestyle"]], "linewidths": [look["linewidth"]]}
    lines = axes.contour(columns, rows, framed, levels=[0.5], **style)
    lines.set_path_effects([withStroke(linewidth=look["linewidth"] + 1.4, foreground="black")])
    axes.set(xlim=(0, size[1]), ylim=(size[0], 0))


def _name_outlines(axes: Axes, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    looks = {"truth": {"color": "white", "linestyle": ":"}, **{name: look_of(i) for i, name in enumerate(names)}}
    handles = [Line2D([], [], linewidth=1.6, label=name, **look) for name, look in looks.items()]
    plain(axes.legend(handles=handles, loc="center", facecolor="#404040", labelcolor="white", fontsize=9))
