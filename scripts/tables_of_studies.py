"""Tables of ablation studies and training recipes for `update_tables.py`."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pandas as pd
from hybrid_attention.engines.run_record import trained_epochs
from hybrid_attention.evaluation import Evaluation, bootstrap_ratio, paired_tests, read_evaluation
from hybrid_attention.evaluation.formatting import markdown_grid, percent, percent_interval, score_interval
from hybrid_attention.evaluation.metrics.classification import class_points, class_probabilities, predicted_classes
from hybrid_attention.evaluation.metrics.segmentation import has_lesion
from hybrid_attention.evaluation.results import read_csv, read_record
from hybrid_attention.prediction.result import PROBABILITY_PREFIX
from hybrid_attention.report.matching import match_runs, paired_scores
from scipy import stats
from table_rows import DATA_SET_RUNS, LEAKS, RECIPES, STUDIES

SETS = {"busi": "BUSI", "bus_bra": "BUS-BRA"}
# clear a mask when the image is more likely normal than not; chosen before anything was measured
NORMAL_THRESHOLD = 0.5


def study_table(experiment: Path) -> str:
    """Make the table of an ablation study on the validation fold.

    Args:
        experiment: folder with one folder per run, which holds its files or those of each seed in `seed_S`.

    Raises:
        ValueError: a run is not of the validation fold, mixes files of one and of several seeds, or there is no base
            run.
    """
    titles = STUDIES[experiment.name]
    runs = {name: seeds for name, title in titles.items() if (seeds := _seeds(experiment / name, title))}
    base_name = _base(experiment, titles, runs)
    base, rows = [_dice(run) for run in runs[base_name]], []
    for name, seeds in runs.items():
        dice = [run.summary["lesion_only"]["dice"] for run in seeds]
        change = statistics.mean(_dice(run) for run in seeds) - statistics.mean(base)
        shown = score_interval(dice[0]) if len(seeds) == 1 else ", ".join(percent(score["mean"]) for score in dice)
        medians = ", ".join(percent(score["median"]) for score in dice)
        rows.append((titles[name], shown, medians, *_judged(name == base_name, change, noise(base, len(seeds)))))
    header = ("change", "Dice", "median Dice", "difference to base", "beyond noise")
    counts = sorted({len(seeds) for name, seeds in runs.items() if name != base_name})
    return f"{_study_caption(runs[base_name][0], base, counts or [1])}\n\n{markdown_grid(header, rows)}"


def recipes_table(results: Path) -> str:
    """Make the table of HAN's validation and test scores by training recipe.

    Args:
        results: the folder docs/results.
    """
    runs = {folder: read_evaluation(f"{title}={results / folder}") for folder, title in RECIPES.items()}
    first, rows = next(iter(runs.values())), []
    for folder, run in runs.items():
        validation = read_csv(results / folder / "history.csv")["val_mean_dice"]
        dice = run.summary["lesion_only"]["dice"]
        scores = (percent(validation.max()), score_interval(dice), percent(dice["median"]))
        rows.append((run.name, str(len(validation)), *scores, difference(run, first)))
    header = ("recipe", "epochs", "Dice, validation", "Dice, test", "median, test", "difference, test")
    size, cases = first.recorded("settings", "image_size"), first.recorded("lesion_cases")
    caption = f"{first.recorded('split')}; {size} x {size} pixels; {cases} test images; one run per recipe."
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def data_sets_table(experiment: Path) -> str:
    """Make the table of scores per data set and false-positive rates on normal images.

    Runs of several seeds are shown by their mean without an interval; the noise is that of the first run's seeds.

    Args:
        experiment: folder with one folder per run, which holds its files or those of each seed in `seed_S`.

    Raises:
        ValueError: there is no base run.
    """
    titles = DATA_SET_RUNS[experiment.name]
    places = {name: _places(experiment / name) for name in titles}
    runs = {name: [read_csv(place / "per_case.csv") for place in own] for name, own in places.items() if own}
    base_name = _base(experiment, titles, runs)
    base, rows = [_mean_over_sets(cases) for cases in runs[base_name]], []
    for name, seeds in runs.items():
        own = [_mean_over_sets(cases) for cases in seeds]
        change = sum(own) / len(own) - sum(base) / len(base)
        compared = _judged(name == base_name, change, noise(base, len(own))) if len(runs) > 1 else ()
        dice = [_dice_of_set(seeds, key) for key in SETS]
        rows.append((titles[name], *dice, *compared, *_normals(seeds), *_classes(pd.concat(seeds))))
    header = (
        "network",
        *(f"Dice, {title}" for title in SETS.values()),
        *(("mean difference to first row", "beyond noise") if len(runs) > 1 else ()),
        "false-positive rate on normal images",
        "the same, normal images cleared",
        "class accuracy, BUSI",
        "macro AUC, BUSI",
    )
    summary = read_record(places[base_name][0] / "summary.json")
    return f"{_sets_caption(summary, runs[base_name][0], base)}\n\n{markdown_grid(header, rows)}"


def leaks_table(experiment: Path) -> str:
    """Make the table of what near-duplicates on both sides of a split bring.

    Each random split is compared with the leak-free one image by image: on test images with a near-duplicate among the
    random split's training images, and on the others.

    Args:
        experiment: folder with one folder per run, which holds the merged test folds.

    Raises:
        ValueError: the runs have other images.
    """
    rows = []
    for free_name, random_name, title in LEAKS:
        if not (experiment / random_name / "per_case.csv").is_file():
            continue
        run = read_record(experiment / free_name / "summary.json")
        free, mixed = (
            read_csv(experiment / name / "per_case.csv").set_index("case_id") for name in (free_name, random_name)
        )
        if sorted(free.index) != sorted(mixed.index):
            raise ValueError(f"{experiment}: {free_name} and {random_name} have other images")
        free, leaked = free.loc[mixed.index], has_training_duplicate(mixed)
        cells = [title, percent(free["dice"].mean()), percent(mixed["dice"].mean())]
        for kept in (leaked | ~leaked, leaked, ~leaked):
            scores = {"random": mixed["dice"][kept].tolist(), "leak-free": free["dice"][kept].tolist()}
            (test,) = paired_tests(scores, mixed["group"][kept].tolist())
            count = "" if kept.all() else f" ({int(kept.sum())})"
            cells.append(f"{percent_interval(test.difference, test.low, test.high, signed=True)}{count}")
        rows.append(cells)
    header = (
        "training",
        "Dice, leak-free",
        "Dice, random",
        "difference, all images",
        "images with a near-duplicate in training",
        "other images",
    )
    size, epochs = run["settings"]["image_size"], run["provenance"]["overrides"]["epochs"]
    caption = (
        f"{len(free)} lesion images of BUSI, each tested once on five folds; {size} x {size} pixels, {epochs} epochs; "
        "Dice in percent; differences random minus leak-free on the same images (number of images), 95 % intervals by "
        "bootstrap over duplicate groups."
    )
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def has_training_duplicate(cases: pd.DataFrame) -> pd.Series:
    """Return which test cases of a five-fold run have a case of their group among the training cases of their fold.

    Args:
        cases: with `group` and `fold`, the fold in which a case is tested; the next fold validates.
    """
    count = cases["fold"].max() + 1
    folds = cases.groupby("group")["fold"].apply(set)
    pairs = zip(cases["group"], cases["fold"], strict=True)
    return pd.Series([bool(folds[group] - {fold, (fold + 1) % count}) for group, fold in pairs], cases.index)


def normal_thresholds_table(run: Path) -> str:
    """Make the table of what clearing the masks of normal-looking images costs and gains, by threshold.

    Args:
        run: folder of an evaluation on images with and without lesion, of a network with the class "normal".
    """
    cases = read_csv(run / "per_case.csv")
    lesion, column = has_lesion(cases), f"{PROBABILITY_PREFIX}normal"
    rows = []
    for threshold in (None, 0.9, 0.7, 0.5, 0.3, 0.1):
        emptied = pd.Series(False, cases.index) if threshold is None else cases[column] >= threshold
        dice = cases["dice"].where(~emptied, 0.0)
        scores = [percent(dice[lesion & (cases["dataset"] == key)].mean()) for key in SETS]
        false_positives = percent(((cases["fp"] > 0) & ~emptied)[~lesion].mean())
        lost = str(int((lesion & emptied & (cases["dice"] > 0)).sum()))
        rows.append(("none" if threshold is None else str(threshold), *scores, lost, false_positives))
    header = (
        "`normal_threshold`",
        *(f"Dice, {title}" for title in SETS.values()),
        "lesions lost",
        "false-positive rate on normal images",
    )
    counts = f"{int(lesion.sum())} images with lesion, {int((~lesion).sum())} normal images"
    return f"{counts}; means in percent.\n\n{markdown_grid(header, rows)}"


def difference(run: Evaluation, reference: Evaluation) -> str:
    """Format the mean paired Dice difference and its interval in percent."""
    if run is reference:
        return ""
    paired = paired_scores(match_runs([run, reference]))
    (test,) = paired_tests(paired.scores, paired.groups)
    return percent_interval(test.difference, test.low, test.high, signed=True)


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


def _judged(is_base: bool, change: float, bound: float | None) -> tuple[str, str]:
    return ("", "") if is_base else (f"{100 * change:+.1f}", verdict(change, bound))


def _base(experiment: Path, titles: dict[str, str], runs: dict) -> str:
    name = next(iter(titles))
    if name not in runs:
        raise ValueError(f"{experiment} has no run {name!r}, the base of the comparison")
    return name


def _places(folder: Path) -> list[Path]:
    """Return the folders of a run's seeds, or the run's own folder."""
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


def _study_caption(run: Evaluation, base: list[float], counts: list[int]) -> str:
    size = run.recorded("settings", "image_size")
    epochs = trained_epochs(run.record["training"])
    text = (
        f"{run.recorded('split')}: the validation fold; {size} x {size} pixels, {epochs} epochs; Dice of "
        f"{run.recorded('lesion_cases')} lesion images in percent"
    )
    bounds = [(count, bound) for count in counts if (bound := noise(base, count)) is not None]
    if not bounds:
        return f"{text}. One seed per run, so the noise between seeds is unknown."
    chances = [(f"the mean of {count} runs" if count > 1 else "a single run", bound) for count, bound in bounds]
    chance = ", ".join(f"±{100 * bound:.1f} points for {who}" for who, bound in chances)
    return (
        f"{text}. Noise between seeds: {chance} (95 %, t distribution, from {len(base)} seeds of the base); with this "
        "many changes, some exceed it by chance."
    )


def _lesions(cases: pd.DataFrame, key: str) -> pd.DataFrame:
    return cases[(cases["dataset"] == key) & has_lesion(cases)]


def _mean_over_sets(cases: pd.DataFrame) -> float:
    return float(pd.Series([_lesions(cases, key)["dice"].mean() for key in SETS]).mean())


def _dice_of_set(seeds: list[pd.DataFrame], key: str) -> str:
    found = [_lesions(cases, key) for cases in seeds]
    if found[0].empty:
        return ""
    if len(found) > 1:
        return percent(sum(each["dice"].mean() for each in found) / len(found))
    return percent_interval(*bootstrap_ratio(found[0]["dice"], [1] * len(found[0]), found[0]["group"]))


def _normals(seeds: list[pd.DataFrame]) -> tuple[str, str]:
    """Return the false-positive rate on normal images, without and with clearing masks classified as normal."""
    normals = pd.concat([cases[~has_lesion(cases)] for cases in seeds])
    if normals.empty:
        return "", ""
    found, column = normals["fp"] > 0, f"{PROBABILITY_PREFIX}normal"
    emptied = percent((found & (normals[column] < NORMAL_THRESHOLD)).mean()) if column in normals else ""
    return percent(found.mean()), emptied


def _classes(cases: pd.DataFrame) -> tuple[str, str]:
    busi, names = cases[cases["dataset"] == "busi"], predicted_classes(cases)
    if not names or not set(busi["class"]) <= set(names):
        return "", ""
    points = class_points(busi["class"].tolist(), class_probabilities(busi), names)
    return percent(points["accuracy"]), percent(points["macro_auc"])


def _sets_caption(summary: dict, cases: pd.DataFrame, base: list[float]) -> str:
    counts = ", ".join(f"{len(_lesions(cases, key))} of {title}" for key, title in SETS.items())
    size = summary["settings"]["image_size"]
    text = (
        f"{summary['split']}: the {summary['part']} part; {size} x {size} pixels; mean Dice over the lesion images "
        f"({counts}), in percent"
    )
    bound = noise(base)
    if bound is None:
        return f"{text}; 95 % intervals by bootstrap over patients and duplicate groups."
    return (
        f"{text}. The first row is the mean of {len(base)} seeds; noise between seeds: ±{100 * bound:.1f} points for "
        "the mean of both sets of a single run (95 %, t distribution)."
    )
