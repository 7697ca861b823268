"""Tables of ablation studies, data sets, splits and normal images for `update_tables.py`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from hybrid_attention.evaluation import Evaluation, read_evaluation, summarize
from hybrid_attention.evaluation.formatting import percent, percent_interval, score_interval
from hybrid_attention.evaluation.metrics.classification import class_points, class_probabilities, predicted_classes
from hybrid_attention.evaluation.metrics.segmentation import has_lesion
from hybrid_attention.evaluation.results import read_csv, read_record
from hybrid_attention.evaluation.statistics import bootstrap_mean
from hybrid_attention.prediction.result import PROBABILITY_PREFIX
from scipy import stats
from tables_of_networks import (
    FALSE_POSITIVES,
    ROWS,
    caption_of,
    captioned,
    difference,
    epochs_of,
    paired_difference,
    read_runs,
    size_of,
)

SETS = {"busi": "BUSI", "bus_bra": "BUS-BRA"}
# clear a mask when the image is more likely normal than not; chosen before anything was measured
NORMAL_THRESHOLD = 0.5
_NORMAL = f"{PROBABILITY_PREFIX}normal"


def normal_images_table(experiment: Path) -> str:
    """Make the table of scores with and without clearing the masks of images classified as normal."""
    runs, rows = list(read_runs(experiment).values()), []
    for run in runs:
        rows.append({"network": run.name, "masks": "as predicted", **_normal_cells(run.cases)})
        if run.classes:
            cleared = emptied(run.cases, NORMAL_THRESHOLD)
            rows.append({"network": run.name, "masks": "normal images cleared", **_normal_cells(cleared)})
    caption = (
        f"{caption_of(*runs)} Cleared: masks of images whose probability of `normal` is {NORMAL_THRESHOLD} or more; "
        "missed lesions: lesion images with an empty mask; all images: `empty_is_one`."
    )
    return captioned(caption, rows)


def emptied(cases: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the pixel counts that an evaluation with `normal_threshold` would give, from those of one without it."""
    empty, counts = cases[_NORMAL] >= threshold, cases[["group", "tp", "fp", "fn", "tn"]].copy()
    for positive, negative in (("tp", "fn"), ("fp", "tn")):
        counts.loc[empty, negative] += counts.loc[empty, positive]
        counts.loc[empty, positive] = 0
    return counts


def _normal_cells(cases: pd.DataFrame) -> dict[str, str]:
    summary = summarize(cases)
    empty = int(((cases["tp"] + cases["fp"] == 0) & has_lesion(cases)).sum())
    return {
        "Dice, lesion images": score_interval(summary["lesion_only"]["dice"]),
        FALSE_POSITIVES: percent(summary["false_positive_rate_without_lesion"]),
        "missed lesions": f"{empty} of {summary['lesion_cases']}",
        "Dice, all images": score_interval(summary["empty_is_one"]["dice"]),
    }


def normal_thresholds_table(run: Path) -> str:
    """Make the table of what clearing the masks of normal-looking images costs and gains, by threshold."""
    cases = read_csv(run / "per_case.csv")
    lesion, rows = has_lesion(cases), []
    for threshold in (None, 0.9, 0.7, 0.5, 0.3, 0.1):
        cleared = pd.Series(False, cases.index) if threshold is None else cases[_NORMAL] >= threshold
        dice = cases["dice"].where(~cleared, 0.0)
        rows.append(
            {
                "`normal_threshold`": "none" if threshold is None else str(threshold),
                **{f"Dice, {title}": percent(dice[_lesions_of(cases, key)].mean()) for key, title in SETS.items()},
                "lesions lost": str(int((lesion & cleared & (cases["dice"] > 0)).sum())),
                FALSE_POSITIVES: percent(((cases["fp"] > 0) & ~cleared)[~lesion].mean()),
            }
        )
    counts = f"{int(lesion.sum())} images with lesion, {int((~lesion).sum())} normal images"
    return captioned(f"{counts}; means in percent.", rows)


def study_table(experiment: Path) -> str:
    """Make the table of an ablation study on the validation fold; a run may have several seeds, in `seed_S`."""
    titles = ROWS["runs"][experiment.name]
    runs = {name: seeds for name, title in titles.items() if (seeds := _seeds(experiment / name, title))}
    base_name = _base(experiment, runs)
    base, rows = [_dice(run) for run in runs[base_name]], []
    for name, seeds in runs.items():
        dice = [run.summary["lesion_only"]["dice"] for run in seeds]
        change = statistics.mean(_dice(run) for run in seeds) - statistics.mean(base)
        rows.append(
            {
                "change": titles[name],
                "Dice": score_interval(dice[0]) if len(dice) == 1 else ", ".join(percent(one["mean"]) for one in dice),
                "median Dice": ", ".join(percent(one["median"]) for one in dice),
                **_judged("difference to base", name == base_name, change, noise(base, len(seeds))),
            }
        )
    first = runs[base_name][0]
    text = (
        f"{first.recorded('split')}: the validation fold; {size_of(first)}, {epochs_of(first)}; Dice of "
        f"{first.recorded('lesion_cases')} lesion images in percent"
    )
    counts = sorted({len(seeds) for name, seeds in runs.items() if name != base_name}) or [1]
    chances = [
        f"±{100 * bound:.1f} points for {f'the mean of {count} runs' if count > 1 else 'a single run'}"
        for count in counts
        if (bound := noise(base, count)) is not None
    ]
    if not chances:
        return captioned(f"{text}. One seed per run, so the noise between seeds is unknown.", rows)
    caption = (
        f"{text}. Noise between seeds: {', '.join(chances)} (95 %, t distribution, from {len(base)} seeds of the "
        "base); with this many changes, some exceed it by chance."
    )
    return captioned(caption, rows)


def recipes_table(results: Path) -> str:
    """Make the table of HAN's validation and test scores by training recipe, from the folder docs/results."""
    runs = {folder: read_evaluation(f"{title}={results / folder}") for folder, title in ROWS["recipes"].items()}
    first, rows = next(iter(runs.values())), []
    for folder, run in runs.items():
        validation = read_csv(results / folder / "history.csv")["val_mean_dice"]
        dice = run.summary["lesion_only"]["dice"]
        rows.append(
            {
                "recipe": run.name,
                "epochs": str(len(validation)),
                "Dice, validation": percent(validation.max()),
                "Dice, test": score_interval(dice),
                "median, test": percent(dice["median"]),
                "difference, test": difference(run, first),
            }
        )
    images = f"{first.recorded('lesion_cases')} test images"
    return captioned(f"{first.recorded('split')}; {size_of(first)}; {images}; one run per recipe.", rows)


def data_sets_table(experiment: Path) -> str:
    """Make the table of scores per data set and false-positive rates on normal images.

    Runs of several seeds, in `seed_S`, are shown by their mean without an interval; the noise is that of the first
    run's seeds.
    """
    titles = ROWS["runs"][experiment.name]
    places = {name: _places(experiment / name) for name in titles}
    runs = {name: [read_csv(place / "per_case.csv") for place in own] for name, own in places.items() if own}
    base_name = _base(experiment, runs)
    base, rows = [_mean_over_sets(cases) for cases in runs[base_name]], []
    for name, seeds in runs.items():
        own = [_mean_over_sets(cases) for cases in seeds]
        change = sum(own) / len(own) - sum(base) / len(base)
        judged = _judged("mean difference to first row", name == base_name, change, noise(base, len(own)))
        rows.append(
            {
                "network": titles[name],
                **{f"Dice, {title}": _dice_of_set(seeds, key) for key, title in SETS.items()},
                **(judged if len(runs) > 1 else {}),
                **_false_positives(seeds),
                **_classes_of_busi(pd.concat(seeds)),
            }
        )
    summary, first = read_record(places[base_name][0] / "summary.json"), runs[base_name][0]
    counts = ", ".join(f"{int(_lesions_of(first, key).sum())} of {title}" for key, title in SETS.items())
    size = summary["settings"]["image_size"]
    text = (
        f"{summary['split']}: the {summary['part']} part; {size} x {size} pixels; mean Dice over the lesion images "
        f"({counts}), in percent"
    )
    bound = noise(base)
    if bound is None:
        return captioned(f"{text}; 95 % intervals by bootstrap over patients and duplicate groups.", rows)
    caption = (
        f"{text}. The first row is the mean of {len(base)} seeds; noise between seeds: ±{100 * bound:.1f} points for "
        "the mean of both sets of a single run (95 %, t distribution)."
    )
    return captioned(caption, rows)


def by_class_table(folder: Path) -> str:
    """Make the table of a run's Dice per data set and class of its lesion images."""
    cases, rows = read_csv(folder / "per_case.csv"), []
    for (key, name), own in cases[has_lesion(cases)].groupby(["dataset", "class"]):
        rows.append(
            {
                "data set": SETS[key],
                "class": name,
                "images": str(len(own)),
                "patients or groups": str(own["group"].nunique()),
                "Dice": percent_interval(*bootstrap_mean(own["dice"], own["group"])),
                "median Dice": percent(own["dice"].median()),
            }
        )
    error = read_record(folder / "summary.json")["calibration"]["ece"]
    caption = (
        "Lesion images of the test part, in percent; patients of BUS-BRA, groups of near-duplicates of BUSI. Expected "
        f"calibration error over the pixels of all {len(cases)} images: {100 * error:.1f}."
    )
    return captioned(caption, rows)


def leaks_table(experiment: Path) -> str:
    """Make the table of what near-duplicates on both sides of a split bring.

    Each random split is compared with the leak-free one image by image: on test images with a near-duplicate among the
    random split's training images, and on the others. Each run's folder holds the merged test folds.
    """
    rows = []
    for free_name, random_name, title in ROWS["leaks"]:
        if not (experiment / random_name / "per_case.csv").is_file():
            continue
        run = read_record(experiment / free_name / "summary.json")
        free, mixed = (
            read_csv(experiment / name / "per_case.csv").set_index("case_id") for name in (free_name, random_name)
        )
        free, leaked = free.loc[mixed.index], has_training_duplicate(mixed)
        row = {
            "training": title,
            "Dice, leak-free": percent(free["dice"].mean()),
            "Dice, random": percent(mixed["dice"].mean()),
        }
        for column, kept in (
            ("difference, all images", leaked | ~leaked),
            ("images with a near-duplicate in training", leaked),
            ("other images", ~leaked),
        ):
            scores = {"random": mixed["dice"][kept].tolist(), "leak-free": free["dice"][kept].tolist()}
            count = "" if kept.all() else f" ({int(kept.sum())})"
            row[column] = f"{paired_difference(scores, mixed['group'][kept].tolist())}{count}"
        rows.append(row)
    size, epochs = run["settings"]["image_size"], run["provenance"]["overrides"]["epochs"]
    caption = (
        f"{len(free)} lesion images of BUSI, each tested once on five folds; {size} x {size} pixels, {epochs} epochs; "
        "Dice in percent; differences random minus leak-free on the same images (number of images), 95 % intervals by "
        "bootstrap over duplicate groups."
    )
    return captioned(caption, rows)


def has_training_duplicate(cases: pd.DataFrame) -> pd.Series:
    """Return which test cases of a five-fold run have a case of their group among the training cases of their fold.

    `fold` is the one in which a case is tested; the next fold validates.
    """
    count = cases["fold"].max() + 1
    folds = cases.groupby("group")["fold"].apply(set)
    pairs = zip(cases["group"], cases["fold"], strict=True)
    return pd.Series([bool(folds[group] - {fold, (fold + 1) % count}) for group, fold in pairs], cases.index)


def noise(base: list[float], seeds: int = 1) -> float | None:
    """Return the 95 % bound of the difference by chance between the means of `base` and of `seeds` further runs."""
    count = len(base)
    if count < 2:
        return None
    return float(stats.t.ppf(0.975, count - 1)) * statistics.stdev(base) * math.sqrt(1 / seeds + 1 / count)


def verdict(difference: float, bound: float | None) -> str:
    """Say whether a difference exceeds the noise between seeds."""
    if bound is None:
        return "unknown"
    return "no" if abs(difference) <= bound else "better" if difference > 0 else "worse"


def _judged(column: str, is_base: bool, change: float, bound: float | None) -> dict[str, str]:
    shown = ("", "") if is_base else (f"{100 * change:+.1f}", verdict(change, bound))
    return dict(zip((column, "beyond noise"), shown, strict=True))


def _base(experiment: Path, runs: Mapping[str, Any]) -> str:
    name: str = next(iter(ROWS["runs"][experiment.name]))
    if name not in runs:
        raise ValueError(f"{experiment} has no run {name!r}, the base of the comparison")
    return name


def _places(folder: Path) -> list[Path]:
    places = sorted(folder.glob("seed_*"))
    if places and (folder / "per_case.csv").is_file():
        raise ValueError(f"{folder} holds result files next to its seed folders: remove the outdated ones")
    return [place for place in places or [folder] if (place / "per_case.csv").is_file()]


def _seeds(folder: Path, title: str) -> list[Evaluation]:
    runs = [read_evaluation(f"{title}={place}") for place in _places(folder)]
    for run in runs:
        if run.recorded("part") != "validation":
            raise ValueError(f"{folder} is of the {run.recorded('part')} part; studies use the validation fold")
    return runs


def _dice(run: Evaluation) -> float:
    return float(run.summary["lesion_only"]["dice"]["mean"])


def _lesions_of(cases: pd.DataFrame, key: str) -> pd.Series:
    return (cases["dataset"] == key) & has_lesion(cases)


def _mean_over_sets(cases: pd.DataFrame) -> float:
    return float(pd.Series([cases["dice"][_lesions_of(cases, key)].mean() for key in SETS]).mean())


def _dice_of_set(seeds: list[pd.DataFrame], key: str) -> str:
    found = [cases[_lesions_of(cases, key)] for cases in seeds]
    if found[0].empty:
        return ""
    if len(found) > 1:
        return percent(sum(each["dice"].mean() for each in found) / len(found))
    return percent_interval(*bootstrap_mean(found[0]["dice"], found[0]["group"]))


def _false_positives(seeds: list[pd.DataFrame]) -> dict[str, str]:
    """Return the false-positive rate on normal images, without and with clearing masks classified as normal."""
    normals = pd.concat([cases[~has_lesion(cases)] for cases in seeds])
    found, rates = normals["fp"] > 0, ["", ""]
    if len(normals):
        rates[0] = percent(found.mean())
        rates[1] = percent((found & (normals[_NORMAL] < NORMAL_THRESHOLD)).mean()) if _NORMAL in normals else ""
    return {FALSE_POSITIVES: rates[0], "the same, normal images cleared": rates[1]}


def _classes_of_busi(cases: pd.DataFrame) -> dict[str, str]:
    busi, names = cases[cases["dataset"] == "busi"], predicted_classes(cases)
    shown = {"accuracy": "", "macro_auc": ""}
    if names and set(busi["class"]) <= set(names):
        points = class_points(busi["class"].tolist(), class_probabilities(busi), names)
        shown = {name: percent(points[name]) for name in shown}
    return {"class accuracy, BUSI": shown["accuracy"], "macro AUC, BUSI": shown["macro_auc"]}
