"""Write the tables of the documentation from the files under docs/results, or check that they are up to date.

python scripts/update_tables.py            # write
python scripts/update_tables.py --check    # exit with 1 if a table is out of date
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from pathlib import Path

import pandas as pd
from hybrid_attention.engines.run_record import trained_epochs
from hybrid_attention.evaluation import CONVENTIONS, Evaluation, read_evaluation, summarize
from hybrid_attention.evaluation.formatting import markdown_grid, number, percent, score_interval
from hybrid_attention.evaluation.metrics.classification import class_summary
from hybrid_attention.evaluation.results import read_record
from hybrid_attention.prediction.result import PROBABILITY_PREFIX
from table_rows import RELEASED, ROWS, UNCOMPARABLE_ROWS
from tables_of_costs import (
    COSTS,
    cost_cells,
    how_measured,
    inference_table,
    network_costs_table,
    speedup,
    training_table,
)
from tables_of_models import attention_table, averages_table, calibrate_table, measurements_table, stress_table
from tables_of_studies import (
    NORMAL_THRESHOLD,
    data_sets_table,
    difference,
    leaks_table,
    normal_thresholds_table,
    recipes_table,
    study_table,
)

CLASS_SCORES = {"accuracy": "class accuracy", "balanced_accuracy": "balanced accuracy", "macro_auc": "macro AUC"}
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    RESULTS / "README.md",
    *sorted((ROOT / "bundles").glob("*/docs/README.md")),
)
# what all rows of a table must share
_SAME = (
    "split",
    "settings.image_size",
    "synthetic_data",
    "lesion_cases",
    "provenance.overrides.epochs",
    "provenance.config_files",
)
_FALSE_POSITIVES = "false-positive rate on normal images"
# the intervals do not cover the spread between seeds
_INTERVAL = "95 % intervals by bootstrap over duplicate groups of images (not over seeds)"


def read_runs(experiment: Path) -> dict[str, Evaluation]:
    """Read the runs of one experiment.

    Args:
        experiment: folder with one folder per run.

    Returns:
        Runs by the name of their folder.

    Raises:
        ValueError: there are no runs, or they differ in something they should share.
    """
    runs = {
        name: read_evaluation(f"{title}={experiment / name}")
        for name, title in ROWS[experiment.name].items()
        if (experiment / name / "per_case.csv").is_file()
    }
    if not runs:
        raise ValueError(f"no run with a per_case.csv in {experiment}")
    first = next(iter(runs.values()))
    same = [key for key in _SAME if key not in UNCOMPARABLE_ROWS.get(experiment.name, ())]
    for name, run in runs.items():
        other = [key for key in same if run.recorded(*key.split(".")) != first.recorded(*key.split("."))]
        if other:
            raise ValueError(f"{experiment}/{name} can't be compared with the other runs: {', '.join(other)} differ")
    return runs


def results_table(experiment: Path) -> str:
    """Make the table of segmentation scores on lesion images."""
    runs = list(read_runs(experiment).values())
    rows = [
        (run.name, *_dice_and_jaccard(run), percent(run.summary["pooled"]["dice"]["value"]), difference(run, runs[0]))
        for run in runs
    ]
    header = ("network", "Dice", "median Dice", "Jaccard", "Dice, pooled over pixels", "Dice difference to first row")
    return f"{_lesion_caption(*runs)}\n\n{markdown_grid(header, rows)}"


def peers_table(experiment: Path) -> str:
    """Make the table of Dice and computational cost per network, best Dice first."""
    runs = list(read_runs(experiment).values())
    costs = json.loads((RESULTS / "network_costs.json").read_text(encoding="utf-8"))
    first = runs[0]
    rows = [
        (run.name, *cost_cells(costs["rows"][run.name]), *_dice_and_jaccard(run), difference(run, first))
        for run in sorted(runs, key=lambda run: -run.summary["lesion_only"]["dice"]["mean"])
    ]
    header = ("network", *COSTS, "Dice", "median Dice", "Jaccard", f"Dice difference to {first.name}")
    caption = f"{_lesion_caption(*runs)} Costs: {how_measured(costs)}."
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def cross_validation_table(experiment: Path) -> str:
    """Make the table of Dice on lesion images: per fold, averaged over folds, and over all images.

    Args:
        experiment: folder with one folder per run, which holds the merged folds and, in `fold_F`, each fold with its
            `summary_validation.json`.

    Raises:
        ValueError: a run is not a cross-validation, or has other folds than the first run.
    """
    runs, rows = read_runs(experiment), []
    first = next(iter(runs.values()))
    for name, run in runs.items():
        folds = run.recorded("folds")
        if not folds:
            raise ValueError(f"{experiment / name} is a single fold, not a cross-validation")
        numbers = first.recorded("folds", "merged")
        if folds["merged"] != numbers:
            raise ValueError(f"{experiment / name} has folds {folds['merged']}, expected {numbers}")
        places = [experiment / name / f"fold_{fold}" / "summary_validation.json" for fold in numbers]
        validation = statistics.mean(read_record(place)["lesion_only"]["dice"]["mean"] for place in places)
        mean, dice = folds["scores"]["dice_lesion_only"], run.summary["lesion_only"]["dice"]
        rows.append(
            (
                run.name,
                percent(validation),
                *(percent(fold["scores"]["dice_lesion_only"]) for fold in folds["runs"]),
                f"{percent(mean['mean'])} ± {percent(mean['sd'])}",
                score_interval(dice),
                percent(dice["median"]),
                difference(run, first),
            )
        )
    means = ("mean of folds", "all images", "median", f"difference to {first.name}")
    header = ("network", "validation", *(f"fold {fold}" for fold in numbers), *means)
    caption = (
        f"{first.recorded('split')}; {_size(first)}, {_epochs(*runs.values())}; Dice of "
        f"{first.recorded('lesion_cases')} images in percent, each predicted by the network not "
        f"trained on its fold; mean of folds ± standard deviation; {_INTERVAL}."
    )
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def classes_table(experiment: Path) -> str:
    """Make the tables of segmentation and classification scores, and the confusion matrix."""
    runs = list(read_runs(experiment).values())
    first, rows, confusions = runs[0], [], []
    for run in runs:
        scores = class_summary(run.cases)
        masks = [score_interval(run.summary["lesion_only"][score]) for score in ("dice", "jaccard")]
        masks += [percent(run.summary["pooled"][score]["value"]) for score in ("dice", "jaccard")]
        classes = [score_interval(scores[score]) if scores else "" for score in CLASS_SCORES]
        rows.append((run.name, *masks, difference(run, first), *classes))
        for name, line in zip(scores["class_names"], scores["confusion"], strict=True) if scores else ():
            confusions.append((run.name, name, *map(str, line)))
    pooled = ("Dice, pooled", "Jaccard, pooled", "Dice difference to first row")
    header = ("network", "Dice, lesion images", "Jaccard, lesion images", *pooled, *CLASS_SCORES.values())
    predicted = [f"predicted {name}" for name in dict.fromkeys(line[1] for line in confusions)]
    confusion = markdown_grid(("network", "true class", *predicted), confusions)
    return f"{_caption(*runs)}\n\n{markdown_grid(header, rows)}\n\n{confusion}"


def conventions_table(experiment: Path) -> str:
    """Make the table of Dice under each convention, false-positive rate and pixel AUC.

    Args:
        experiment: folder with one folder per run, which also holds `summary_train.json` and
            `summary_validation.json`, the summaries of the training and validation images.
    """
    runs, rows = read_runs(experiment), []
    for name, run in runs.items():
        dice = [score_interval(run.summary[convention]["dice"]) for convention in CONVENTIONS]
        records = [read_record(experiment / name / f"summary{part}.json") for part in ("_train", "_validation", "")]
        areas = " / ".join(number(record["pixel_roc"]["auc"], 3) for record in records)
        rows.append((run.name, *dice, percent(run.summary["false_positive_rate_without_lesion"]), areas))
    header = ("model", *CONVENTIONS, _FALSE_POSITIVES, "pixel AUC: training / validation / test")
    return f"{_caption(*runs.values())}\n\n{markdown_grid(header, rows)}"


def normal_images_table(experiment: Path) -> str:
    """Make the table of scores with and without clearing the masks of images classified as normal."""
    runs, rows = list(read_runs(experiment).values()), []
    for run in runs:
        rows.append((run.name, "as predicted", *_normal_cells(run.cases)))
        if run.classes:
            rows.append((run.name, "normal images cleared", *_normal_cells(emptied(run.cases, NORMAL_THRESHOLD))))
    header = ("network", "masks", "Dice, lesion images", _FALSE_POSITIVES, "missed lesions", "Dice, all images")
    caption = (
        f"{_caption(*runs)} Cleared: masks of images whose probability of `normal` is {NORMAL_THRESHOLD} or more; "
        "missed lesions: lesion images with an empty mask; all images: `empty_is_one`."
    )
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def emptied(cases: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the pixel counts that an evaluation with `normal_threshold` would give.

    Args:
        cases: with `tp`, `fp`, `fn`, `tn` and the class probabilities, from an evaluation without it.
        threshold: probability of `normal` at which a mask is cleared.
    """
    empty, counts = cases[f"{PROBABILITY_PREFIX}normal"] >= threshold, cases[["group", "tp", "fp", "fn", "tn"]].copy()
    for positive, negative in (("tp", "fn"), ("fp", "tn")):
        counts.loc[empty, negative] += counts.loc[empty, positive]
        counts.loc[empty, positive] = 0
    return counts


def released_table(results: Path) -> str:
    """Make the table of test scores of the released weights.

    Args:
        results: the folder docs/results.
    """
    rows = []
    for bundle, folder in RELEASED.items():
        run = read_evaluation(f"{bundle}={results / folder}")
        dice, classes = run.summary["lesion_only"]["dice"], class_summary(run.cases)
        cells = [score_interval(classes[name]) if classes else "none" for name in ("accuracy", "macro_auc")]
        rate = percent(run.summary["false_positive_rate_without_lesion"])
        rows.append((f"`{bundle}`", score_interval(dice), percent(dice["median"]), rate, *cells))
    images, lesions = run.recorded("cases"), run.recorded("lesion_cases")
    rate = f"false-positive rate, {images - lesions} normal images"
    header = ("bundle", f"Dice, {lesions} images with lesion", "median Dice", rate, "class accuracy", "macro AUC")
    return markdown_grid(header, rows)


def one_run_table(folder: Path) -> str:
    """Make the table of one run's scores, one row per convention."""
    summary, names = read_evaluation(folder).summary, ("dice", "jaccard", "sensitivity", "precision")
    rows = [(f"`{one}`", *(score_interval(summary[one][name]) for name in names)) for one in CONVENTIONS]
    return markdown_grid(("convention", *(name.capitalize() for name in names)), rows)


def _dice_and_jaccard(run: Evaluation) -> tuple[str, str, str]:
    scores = run.summary["lesion_only"]
    return score_interval(scores["dice"]), percent(scores["dice"]["median"]), score_interval(scores["jaccard"])


def _normal_cells(cases: pd.DataFrame) -> tuple[str, ...]:
    summary = summarize(cases)
    empty = int(((cases["tp"] + cases["fp"] == 0) & (cases["tp"] + cases["fn"] > 0)).sum())
    return (
        score_interval(summary["lesion_only"]["dice"]),
        percent(summary["false_positive_rate_without_lesion"]),
        f"{empty} of {summary['lesion_cases']}",
        score_interval(summary["empty_is_one"]["dice"]),
    )


def _size(run: Evaluation) -> str:
    size = run.recorded("settings", "image_size")
    return f"{size} x {size} pixels"


def _epochs(*runs: Evaluation) -> str:
    """Name the epochs of the trainings, once if they are the same in all rows."""
    numbers = [str(trained_epochs(run.record["training"])) for run in runs]
    return f"{numbers[0]} epochs" if len(set(numbers)) == 1 else f"{', '.join(numbers)} epochs (by row)"


def _caption(*runs: Evaluation) -> str:
    run = runs[0]
    cases, lesions = run.recorded("cases"), run.recorded("lesion_cases")
    return (
        f"{run.recorded('split')}; {_size(run)}; {_epochs(*runs)}; {cases} images, {lesions} with lesion. "
        f"Scores in percent, {_INTERVAL}."
    )


def _lesion_caption(*runs: Evaluation) -> str:
    run = runs[0]
    return (
        f"{run.recorded('split')}; {_size(run)}; {_epochs(*runs)}; mean of {run.recorded('lesion_cases')} images in "
        f"percent, {_INTERVAL}."
    )


# tables made from a folder under docs/results, by marker
TABLES = {
    "attention": attention_table,
    "averages": averages_table,
    "results": results_table,
    "cross_validation": cross_validation_table,
    "conventions": conventions_table,
    "peers": peers_table,
    "classes": classes_table,
    "study": study_table,
    "data_sets": data_sets_table,
    "leaks": leaks_table,
    "normal_images": normal_images_table,
    "normal_thresholds": normal_thresholds_table,
    "run": one_run_table,
    "stress": stress_table,
    "calibrate": calibrate_table,
}
# tables of a benchmark, by marker
BENCHMARKS = {
    "benchmark": training_table,
    "inference": lambda path: inference_table(path, trained=True),
    "inference_times": lambda path: inference_table(path, trained=False),
}
# tables without a folder, by marker
STANDALONE_TABLES = {
    "network_costs": lambda: network_costs_table(RESULTS / "network_costs.json"),
    "recipes": lambda: recipes_table(RESULTS),
    "released": lambda: released_table(RESULTS),
    "measurements": lambda: measurements_table(RESULTS / "measurements_bus_bra.csv"),
}


def filled(page: str) -> str:
    """Return a page with the text between its markers replaced by up-to-date tables.

    Args:
        page: Markdown with pairs of `<!-- KIND -->` or `<!-- KIND FOLDER -->` and `<!-- end of KIND -->`, where KIND is
            `speed` or a key of `STANDALONE_TABLES`, `BENCHMARKS` or `TABLES`.
    """

    def content(found: re.Match[str]) -> str:
        start, kind, folder, end = found.group("start", "kind", "folder", "end")
        if kind == "speed":
            return f"{start}{speedup(RESULTS / 'benchmark_hybrid.json')}{end}"
        if kind in STANDALONE_TABLES:
            table = STANDALONE_TABLES[kind]()
        elif kind in BENCHMARKS:
            table = BENCHMARKS[kind](RESULTS / f"benchmark_{folder}.json")
        else:
            table = TABLES[kind](RESULTS / folder)
        return f"{start}\n{table}\n{end}"

    kinds = "|".join(["speed", *STANDALONE_TABLES, *BENCHMARKS, *TABLES])
    return re.sub(
        rf"(?P<start><!-- (?P<kind>{kinds})(?: (?P<folder>[\w/]+))? -->).*?(?P<end><!-- end of (?P=kind) -->)",
        content,
        page,
        flags=re.S,
    )


def main() -> int:
    """Write or check the pages."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true")
    check = options.parse_args().check
    stale = []
    for path in PAGES:
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            stale.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    if check and stale:
        print(f"out of date: {', '.join(str(path) for path in stale)}; run scripts/update_tables.py")
        return 1
    print(f"{'checked' if check else 'written'}: {len(PAGES)} pages, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
