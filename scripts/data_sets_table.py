"""The tables of networks that learn from several data sets, a column of Dice per set, for `results_table.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from hybrid_attention.engines.class_columns import PROBABILITY_PREFIX
from hybrid_attention.evaluation.classification import class_points
from hybrid_attention.evaluation.statistics import bootstrap_ratio
from hybrid_attention.evaluation.text import markdown_grid, percent, percent_interval
from normal_table import THRESHOLD
from study_table import noise, verdict

SETS = {"busi": "BUSI", "bus_bra": "BUS-BRA"}
# the runs of each experiment in the order of their rows; the first is what the others change
TITLES = {
    "hybrid_lite_study_128": {
        "base": "hybrid_lite",
        "random_start": "random start instead of ImageNet weights",
        "busi_alone": "learns from BUSI alone",
        "bus_bra_alone": "learns from BUS-BRA alone",
        "tam": "+ TAM on the deepest features",
        "sfeb": "+ SFEB on the skips",
        "narrow_decoder": "decoder of 64, 32, 16, 16 channels",
        "wide_decoder": "decoder of 256, 128, 64, 32 channels",
        "lite1": "EfficientNet-Lite1",
        "lite2": "EfficientNet-Lite2",
        "masks_alone": "no class head",
        "lesions_alone": "no normal images, two classes",
        "class_weight_1": "weight of the class loss 1 instead of 0.5",
        "mild_augmentation": "geometric augmentation alone",
    },
    "hybrid_lite": {
        "hybrid_lite": "`train.yaml`, the released weights",
        "with_validation_fold": "six more epochs, with the validation fold",
    },
}


def data_sets_table(experiment: Path) -> str:
    """Lay out how well the runs of an experiment segment each data set, and what they predict in normal images.

    Args:
        experiment: a folder with a folder per run, which holds its files or those of each seed in `seed_S`.

    Returns:
        Markdown. A single run has 95 % intervals by bootstrap over groups; where a run has several seeds, the mean of
        them stands alone, and chance is judged by the spread of the first run's seeds.

    Raises:
        ValueError: there is no run of what the others change.
    """
    titles = TITLES[experiment.name]
    runs = {name: _frames(experiment / name) for name in titles}
    runs = {name: frames for name, frames in runs.items() if frames}
    base_name = next(iter(titles))
    if base_name not in runs:
        raise ValueError(f"{experiment} has no run {base_name!r}, which the others are compared with")
    base = [_mean_over_sets(frame) for frame in runs[base_name]]
    rows = []
    for name, frames in runs.items():
        own = [_mean_over_sets(frame) for frame in frames]
        change = sum(own) / len(own) - sum(base) / len(base)
        cells = [_dice(frames, key) for key in SETS]
        compared = ["", ""] if name == base_name else [f"{100 * change:+.1f}", verdict(change, noise(base, len(own)))]
        rows.append((titles[name], *cells, *(compared if len(runs) > 1 else []), *_normals(frames), *_classes(frames)))
    header = (
        "network",
        *(f"Dice, {title}" for title in SETS.values()),
        *(("mean of both, minus the first", "more than noise") if len(runs) > 1 else ()),
        "normal images with a false positive",
        "with normal images emptied",
        "class accuracy, BUSI",
        "macro AUC, BUSI",
    )
    return f"{_caption(experiment, base_name, runs[base_name], base)}\n\n{markdown_grid(header, rows)}"


def _frames(folder: Path) -> list[pd.DataFrame]:
    places = sorted(folder.glob("seed_*")) or [folder]
    return [pd.read_csv(place / "per_case.csv") for place in places if (place / "per_case.csv").is_file()]


def _lesions(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    return frame[(frame["dataset"] == key) & (frame["tp"] + frame["fn"] > 0)]


def _mean_over_sets(frame: pd.DataFrame) -> float:
    return float(pd.Series([_lesions(frame, key)["dice"].mean() for key in SETS]).mean())


def _dice(frames: list[pd.DataFrame], key: str) -> str:
    found = [_lesions(frame, key) for frame in frames]
    if found[0].empty:
        return ""
    if len(found) > 1:
        return percent(sum(each["dice"].mean() for each in found) / len(found))
    dice = found[0]["dice"].tolist()
    return percent_interval(*bootstrap_ratio(dice, [1] * len(dice), found[0]["group"].tolist()))


def _normals(frames: list[pd.DataFrame]) -> tuple[str, str]:
    """Return how many normal images have a false positive, as they are and with those emptied that look normal."""
    normals = pd.concat([frame[frame["tp"] + frame["fn"] == 0] for frame in frames])
    if normals.empty:
        return "", ""
    found = normals["fp"] > 0
    column = f"{PROBABILITY_PREFIX}normal"
    emptied = percent((found & (normals[column] < THRESHOLD)).mean()) if column in normals else ""
    return percent(found.mean()), emptied


def _classes(frames: list[pd.DataFrame]) -> tuple[str, str]:
    frame = pd.concat(frames)
    frame = frame[frame["dataset"] == "busi"]
    columns = [name for name in frame.columns if name.startswith(PROBABILITY_PREFIX)]
    names = [name.removeprefix(PROBABILITY_PREFIX) for name in columns]
    if not names or not set(frame["class"]) <= set(names):
        return "", ""
    points = class_points(frame["class"].tolist(), frame[columns].to_numpy(), names)
    return percent(points["accuracy"]), percent(points["macro_auc"])


def _caption(experiment: Path, name: str, frames: list[pd.DataFrame], base: list[float]) -> str:
    folder = next(iter(sorted((experiment / name).glob("seed_*"))), experiment / name)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    counts = ", ".join(f"{len(_lesions(frames[0], key))} of {title}" for key, title in SETS.items())
    size = summary["settings"]["image_size"]
    text = (
        f"{summary['split']}: the {summary['part']} part; {size} x {size} pixels; mean Dice per image over the lesion "
        f"images ({counts}), in percent"
    )
    bound = noise(base, 1)
    if bound is None:
        return f"{text}; 95 % intervals by bootstrap over patients and duplicate groups."
    return (
        f"{text}. The first row is the mean of {len(base)} seeds: in 95 of 100 cases (t distribution) chance alone "
        f"moves the mean of both sets of another run by up to {100 * bound:.1f} points."
    )
