"""The tables of studies of recipes, for `results_table.py`."""

from __future__ import annotations

import csv
import math
import statistics
from pathlib import Path

from hybrid_attention.evaluation import paired_tests
from hybrid_attention.evaluation.text import markdown_grid, percent, percent_interval, score_interval
from hybrid_attention.report import Run, read_run
from hybrid_attention.report.matching import match_runs
from hybrid_attention.report.paired_scores import paired_scores
from scipy import stats

# the runs of each study in the order of their rows; the first is what the others change
STUDIES = {
    "recipe_study_128": {
        "base": "FlexibleUNet-B0, `from_scratch.yaml`",
        "without_augmentation": "no augmentation",
        "batched_augmentation": "much the same augmentation, in batches (kornia)",
        "elastic": "+ elastic",
        "speckle": "+ multiplicative speckle",
        "clahe": "+ CLAHE",
        "blur": "+ blur",
        "coarse_dropout": "+ coarse dropout",
        "dice_bce": "Dice + BCE instead of BCE + Jaccard",
        "dice_focal": "Dice + focal",
        "boundary_loss": "+ boundary loss (Hausdorff by distance transforms)",
        "warmup_cosine": "warm-up and cosine instead of one cycle",
        "moving_average": "moving average of the weights",
        "image_size_192": "192 x 192 pixels, scored at that size",
        "group_norm": "group norm instead of batch norm",
        "batches_of_4": "batches of 4",
        "batches_of_4_group_norm": "batches of 4, group norm",
        "from_phantoms": "pre-trained on phantoms",
        "from_mixed_phantoms": "pre-trained on phantoms, half of the solid lesions no darker than the tissue",
        "from_masked_images": "pre-trained by masked image modelling",
    },
    "architecture_study_128": {
        "base": "HAN, `from_scratch.yaml`",
        "sfeb_global": "SFEB pools globally, as the paper prints it",
        "encoder_depth_4": "whole DenseNet-121",
        "deep_supervision": "deep supervision at two scales",
    },
}


def study_table(experiment: Path) -> str:
    """Lay out what each change of a study brings on the validation fold.

    Args:
        experiment: a folder with a folder for each run, which holds its files or those of each seed in `seed_S`.

    Returns:
        Markdown.

    Raises:
        ValueError: a run is not of the validation fold, has files both of one and of several seeds, or there is no
            run of what the others change.
    """
    titles = STUDIES[experiment.name]
    runs = {name: _seeds(experiment / name, title) for name, title in titles.items()}
    runs = {name: seeds for name, seeds in runs.items() if seeds}
    base_name = next(iter(titles))
    if base_name not in runs:
        raise ValueError(f"{experiment} has no run {base_name!r}, which the others are compared with")
    base = [_dice(run) for run in runs[base_name]]
    rows = []
    for name, seeds in runs.items():
        scores = [_dice(run) for run in seeds]
        difference = statistics.mean(scores) - statistics.mean(base)
        first = seeds[0].summary["lesion_only"]["dice"]
        shown = score_interval(first) if len(seeds) == 1 else ", ".join(percent(score) for score in scores)
        medians = ", ".join(percent(run.summary["lesion_only"]["dice"]["median"]) for run in seeds)
        cells = (
            ("", "")
            if name == base_name
            else (f"{100 * difference:+.1f}", verdict(difference, noise(base, len(seeds))))
        )
        rows.append((titles[name], shown, medians, *cells))
    header = ("change", "Dice", "median Dice", "minus base", "more than noise")
    counts = sorted({len(seeds) for name, seeds in runs.items() if name != base_name})
    return f"{_caption(runs[base_name][0], base, counts or [1])}\n\n{markdown_grid(header, rows)}"


# ways to train one network, by their folder under docs/results; differences are to the first
RECIPES = {
    "busi_fold0_128/han": "`from_scratch.yaml`",
    "improved_fold0_128/han_strong_augmentation": "strong augmentation",
    "improved_fold0_128/han": "`improved.yaml`: start from phantoms",
    "improved_fold0_128/han_mixed_phantoms": "the same from phantoms of mixed echogenicity",
}


def recipes_table(results: Path) -> str:
    """Lay out what HAN reaches by each recipe, on validation and test.

    Args:
        results: the folder docs/results.

    Returns:
        Markdown.

    Raises:
        ValueError: two runs are of other cases.
    """
    runs = [(folder, read_run(f"{title}={results / folder}")) for folder, title in RECIPES.items()]
    first, rows = runs[0][1], []
    for folder, run in runs:
        with open(results / folder / "history.csv", newline="", encoding="utf-8") as file:
            history = list(csv.DictReader(file))
        best = max(float(row["val_mean_dice"]) for row in history)
        paired = paired_scores(match_runs([run, first])) if run is not first else None
        cells = ""
        if paired is not None:
            (test,) = paired_tests(paired.scores, paired.groups)
            cells = percent_interval(test.difference, test.low, test.high, signed=True)
        dice = run.summary["lesion_only"]["dice"]
        rows.append((run.name, str(len(history)), percent(best), score_interval(dice), percent(dice["median"]), cells))
    header = ("recipe", "epochs", "Dice, validation", "Dice, test", "median, test", "test, minus the first")
    size, cases = first.recorded("settings", "image_size"), first.recorded("lesion_cases")
    caption = f"{first.recorded('split')}; {size} x {size} pixels; {cases} test images; one run each."
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def _seeds(folder: Path, title: str) -> list[Run]:
    seeds = sorted(folder.glob("seed_*"))
    if seeds and (folder / "per_case.csv").is_file():
        raise ValueError(f"{folder} holds files of its own beside those of its seeds: remove those of an earlier list")
    runs = [read_run(f"{title}={place}") for place in seeds or [folder] if (place / "per_case.csv").is_file()]
    for run in runs:
        if run.recorded("part") != "validation":
            raise ValueError(f"{folder} is of the {run.recorded('part')} part; a study looks at the validation fold")
    return runs


def _dice(run: Run) -> float:
    return float(run.summary["lesion_only"]["dice"]["mean"])


def noise(base: list[float], seeds: int = 1) -> float | None:
    """Bound 95 % of the differences between the mean of so many more runs and that of these, by chance alone."""
    count = len(base)
    if count < 2:
        return None
    return float(stats.t.ppf(0.975, count - 1)) * statistics.stdev(base) * math.sqrt(1 / seeds + 1 / count)


def verdict(difference: float, bound: float | None) -> str:
    """Say whether a difference exceeds what chance brings."""
    if bound is None:
        return "not known"
    return "no" if abs(difference) <= bound else "better" if difference > 0 else "worse"


def _caption(run: Run, base: list[float], counts: list[int]) -> str:
    size = run.recorded("settings", "image_size")
    epochs = run.recorded("provenance", "overrides", "epochs")
    text = (
        f"{run.recorded('split')}: the validation fold; {size} x {size} pixels, {epochs} epochs; Dice of "
        f"{run.recorded('lesion_cases')} lesion images in percent"
    )
    bounds = [(count, bound) for count in counts if (bound := noise(base, count)) is not None]
    if not bounds:
        return f"{text}. One seed each, so how much a result moves by chance is not known here."
    chances = [(f"the mean of {count} runs" if count > 1 else "a run", bound) for count, bound in bounds]
    chance = ", ".join(f"{who} by up to {100 * bound:.1f} points" for who, bound in chances)
    return (
        f"{text}. The base was trained with {len(base)} seeds. In 95 of 100 cases (t distribution) chance alone moves "
        f"{chance} from their mean, so of many changes one or the other will look better or worse than it is."
    )
