"""Write the result tables of the README from the per-case files under docs/results, or check that they are true.

python scripts/results_table.py            # write
python scripts/results_table.py --check    # exit 1 when a printed number is not what the files give
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from averages_table import averages_table
from data_sets_table import data_sets_table
from folds_table import folds_table
from hybrid_attention.evaluation import CONVENTIONS, paired_tests
from hybrid_attention.evaluation.text import markdown_grid, number, percent, percent_interval, score_interval
from hybrid_attention.report import Run, read_run
from hybrid_attention.report.matching import match_runs
from hybrid_attention.report.paired_scores import class_scores, paired_scores
from inference_table import inference_table
from normal_table import THRESHOLD, normal_table
from released_table import released_table
from robustness_tables import reliability_table, stress_table
from run_table import one_run_table
from study_table import recipes_table, study_table
from table_rows import ROWS, UNLIKE

COSTS = ("parameters", "GFLOPs, one image", "training memory, GiB", "training images/s")
CLASS_SCORES = {"accuracy": "class accuracy", "balanced_accuracy": "balanced accuracy", "macro_auc": "macro AUC"}
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    RESULTS / "README.md",
    *sorted((ROOT / "bundles").glob("*/docs/README.md")),
)
# what must be one in all rows of a table
_SAME = (
    "split",
    "settings.image_size",
    "synthetic_data",
    "lesion_cases",
    "provenance.overrides.epochs",
    "provenance.config_files",
)


def read_runs(experiment: Path) -> dict[str, Run]:
    """Read the runs of one experiment.

    Args:
        experiment: a folder with a folder for each run.

    Returns:
        Runs by the name of their folder.

    Raises:
        ValueError: there is none, or they differ in more than their network (and their recipe, if that is meant).
    """
    runs = {
        name: read_run(f"{title}={experiment / name}")
        for name, title in ROWS[experiment.name].items()
        if (experiment / name / "per_case.csv").is_file()
    }
    if not runs:
        raise ValueError(f"no run with a per_case.csv in {experiment}")
    first = next(iter(runs.values()))
    same = [key for key in _SAME if key not in UNLIKE.get(experiment.name, ())]
    for name, run in runs.items():
        other = [key for key in same if run.recorded(*key.split(".")) != first.recorded(*key.split("."))]
        if other:
            raise ValueError(f"{experiment}/{name} can't stand in one table with the others: {', '.join(other)} differ")
    return runs


def table(experiment: Path) -> str:
    """Lay out how well the runs of an experiment on lesion images segment.

    Args:
        experiment: a folder with a folder for each run.

    Returns:
        Markdown.
    """
    runs = list(read_runs(experiment).values())
    rows = [
        (
            run.name,
            score_interval(run.summary["lesion_only"]["dice"]),
            percent(run.summary["lesion_only"]["dice"]["median"]),
            score_interval(run.summary["lesion_only"]["jaccard"]),
            percent(run.summary["pooled"]["dice"]["value"]),
            difference(run, runs[0]),
        )
        for run in runs
    ]
    header = ("network", "Dice", "median Dice", "Jaccard", "Dice, pooled over pixels", "Dice, minus the first")
    return f"{_lesion_caption(runs[0])}\n\n{markdown_grid(header, rows)}"


def cross_validation_table(experiment: Path) -> str:
    """Lay out how well the runs of an experiment on lesion images segment, fold by fold.

    Args:
        experiment: a folder with a folder for each run, whose folds lie in `fold_F`.

    Returns:
        Markdown.
    """
    runs = read_runs(experiment)
    first = next(iter(runs.values()))
    size, cases = first.recorded("settings", "image_size"), first.recorded("lesion_cases")
    epochs = first.recorded("provenance", "overrides", "epochs")
    caption = (
        f"{first.recorded('split')}; {size} x {size} pixels, {epochs} epochs; Dice of {cases} images in percent, each "
        "predicted by the network that has not seen its fold; mean of folds with standard deviation; 95 % intervals by "
        "bootstrap over duplicate groups (of the images; another seed may differ more)."
    )
    return f"{caption}\n\n{folds_table(experiment, runs, difference)}"


def peers_table(experiment: Path) -> str:
    """Lay out how well networks segment beside what they cost, the best first.

    Args:
        experiment: a folder with a folder for each run; `network_costs.json` has a row for each network.

    Returns:
        Markdown.
    """
    runs, costs = list(read_runs(experiment).values()), read_costs()
    first, rows = runs[0], []
    for run in sorted(runs, key=lambda run: -run.summary["lesion_only"]["dice"]["mean"]):
        scores = (
            score_interval(run.summary["lesion_only"]["dice"]),
            percent(run.summary["lesion_only"]["dice"]["median"]),
            score_interval(run.summary["lesion_only"]["jaccard"]),
            difference(run, first),
        )
        rows.append((run.name, *cost_cells(costs["rows"][run.name]), *scores))
    header = ("network", *COSTS, "Dice", "median Dice", "Jaccard", f"Dice, minus {first.name}")
    epochs = first.recorded("provenance", "overrides", "epochs")
    return f"{_lesion_caption(first)} {epochs} epochs each; costs: {_measured(costs)}.\n\n{markdown_grid(header, rows)}"


def classes_table(experiment: Path) -> str:
    """Lay out how well the runs of an experiment segment and classify.

    Args:
        experiment: a folder with a folder for each run.

    Returns:
        Markdown: scores of each run, then what each takes the images of each class for.
    """
    runs = list(read_runs(experiment).values())
    first, rows, confusions = runs[0], [], []
    for run in runs:
        scores = class_scores(run)
        masks = [score_interval(run.summary["lesion_only"][score]) for score in ("dice", "jaccard")]
        masks += [percent(run.summary["pooled"][score]["value"]) for score in ("dice", "jaccard")]
        classes = [score_interval(scores[score]) if scores else "" for score in CLASS_SCORES]
        rows.append((run.name, *masks, difference(run, first), *classes))
        for name, line in zip(scores["class_names"], scores["confusion"], strict=True) if scores else ():
            confusions.append((run.name, name, *map(str, line)))
    pooled = ("Dice, pooled", "Jaccard, pooled", "Dice, minus the first")
    header = ("network", "Dice, lesion images", "Jaccard, lesion images", *pooled, *CLASS_SCORES.values())
    taken = [f"taken for {name}" for name in dict.fromkeys(line[1] for line in confusions)]
    confusion = markdown_grid(("network", "true class", *taken), confusions)
    return f"{_caption(first)}\n\n{markdown_grid(header, rows)}\n\n{confusion}"


def normal_images_table(experiment: Path) -> str:
    """Lay out masks of an experiment before and after the class head may empty them.

    Args:
        experiment: a folder with a folder for each run.

    Returns:
        Markdown.
    """
    runs = list(read_runs(experiment).values())
    caption = f"{_caption(runs[0])} Emptied: probability of `normal` from {THRESHOLD} on; all: `empty_is_one`."
    return f"{caption}\n\n{normal_table(runs)}"


def conventions_table(experiment: Path) -> str:
    """Lay out the Dice of each run under every convention, and what else tells images with and without lesion apart.

    Args:
        experiment: a folder with a folder for each run; beside its files lie `summary_train.json` and
            `summary_validation.json`, the summaries of the images that it was trained and chosen on.

    Returns:
        Markdown.
    """
    runs = read_runs(experiment)
    rows = []
    for name, run in runs.items():
        dice = [score_interval(run.summary[convention]["dice"]) for convention in CONVENTIONS]
        areas = [_pixel_auc(experiment / name / f"summary{part}.json") for part in ("_train", "_validation", "")]
        marked = percent(run.summary["false_positive_rate_without_lesion"])
        rows.append((run.name, *dice, marked, " / ".join(areas)))
    header = ("model", *CONVENTIONS, "marked without lesion", "pixel AUC: training / validation / test")
    caption = (
        f"{_caption(next(iter(runs.values())))[:-1]}; marked: share of the images without lesion in which something is."
    )
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def _caption(run: Run) -> str:
    size, cases, lesions = run.recorded("settings", "image_size"), run.recorded("cases"), run.recorded("lesion_cases")
    return (
        f"{run.recorded('split')}; {size} x {size} pixels; {cases} images, {lesions} with lesion. Dice in percent, "
        "95 % interval by bootstrap over duplicate groups (of the images; another seed may differ more)."
    )


def _lesion_caption(run: Run) -> str:
    size = run.recorded("settings", "image_size")
    return (
        f"{run.recorded('split')}; {size} x {size} pixels; mean of {run.recorded('lesion_cases')} images in percent, "
        "95 % interval by bootstrap over duplicate groups (of the images; another seed may differ more)."
    )


def _pixel_auc(path: Path) -> str:
    return number(json.loads(path.read_text(encoding="utf-8"))["pixel_roc"]["auc"], 3)


def difference(run: Run, reference: Run) -> str:
    """Print the mean paired difference of Dice and its interval in percent."""
    if run is reference:
        return ""
    paired = paired_scores(match_runs([run, reference]))
    (test,) = paired_tests(paired.scores, paired.groups)
    return percent_interval(test.difference, test.low, test.high, signed=True)


def read_benchmark(name: str) -> dict[str, Any]:
    """Return what `benchmark_training.py` wrote."""
    return dict(json.loads((RESULTS / f"benchmark_{name}.json").read_text(encoding="utf-8")))


def benchmark_table(name: str) -> str:
    """Lay out time and memory of the training step."""
    parts = ("forward", "backward", "optimizer", "data")
    benchmark, rows = read_benchmark(name), []
    for row in benchmark["rows"]:
        total = sum(row["seconds"].values())
        shares = [f"{100 * row['seconds'][part] / total:.1f} %" for part in parts]
        precision = row["precision"] + (", channels_last" if row["channels_last"] else "")
        cells = (row["network"], row["image_size"], row["batch_size"], precision, row["images_per_second"])
        rows.append((*map(str, cells), *shares, f"{row['peak_memory_gib']} GiB"))
    header = ("network", "image size", "batch", "precision", "images/s", *parts, "peak memory")
    return f"{benchmark['provenance']['processor']}:\n\n{markdown_grid(header, rows)}"


def speedup() -> str:
    """Say how much faster the fast path of the hybrid bundle is."""
    rates = {
        (row["image_size"], row["precision"]): row["images_per_second"] for row in read_benchmark("hybrid")["rows"]
    }
    times = ", ".join(f"{rates[size, 'bf16'] / rates[size, 'fp32']:.1f} times at {size}" for size in (256, 128))
    return f"{times} on {read_benchmark('hybrid')['provenance']['processor']}"


def read_costs() -> dict[str, Any]:
    """Return what `network_costs.py` measured."""
    return dict(json.loads((RESULTS / "network_costs.json").read_text(encoding="utf-8")))


def cost_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Print a network's costs; a cell is empty where something is not measured yet."""
    size, memory, speed = (row.get(what) for what in ("size", "memory", "speed"))
    return (
        f"{size['parameters']:,}" if size else "",
        f"{size['flops'] / 1e9:.1f}" if size else "",
        f"{memory['training_memory_gib']:.1f}" if memory else "",
        f"{speed['images_per_second']:.2f}" if speed else "",
    )


def network_costs_table() -> str:
    """Lay out the costs of all networks."""
    costs = read_costs()
    rows = [(name, *cost_cells(row)) for name, row in costs["rows"].items()]
    return f"{_measured(costs)}:\n\n{markdown_grid(('network', *COSTS), rows)}"


def _measured(costs: dict[str, Any]) -> str:
    settings = costs["settings"]
    measured = [row[what] for row in costs["rows"].values() for what in ("memory", "speed") if what in row]
    machines = dict.fromkeys(part["provenance"]["processor"] for part in measured)
    precision = settings["precision"] + (", channels_last" if settings["channels_last"] else "")
    side, batch = settings["image_size"], settings["batch_size"]
    return ", ".join([f"{side} x {side} pixels", precision, f"batches of {batch}", *machines])


# tables of a whole experiment, by the name of their marker
EXPERIMENTS = {
    "averages": averages_table,
    "results": table,
    "cross_validation": cross_validation_table,
    "conventions": conventions_table,
    "peers": peers_table,
    "classes": classes_table,
    "study": study_table,
    "data_sets": data_sets_table,
    "normal_images": normal_images_table,
}

# tables of a folder within an experiment
FOLDERS = {"run": one_run_table, "stress": stress_table, "reliability": reliability_table}

# tables of a benchmark, by its name
BENCHMARKS = {
    "benchmark": lambda name: benchmark_table(name),
    "inference": lambda name: inference_table(RESULTS / f"benchmark_{name}.json", trained=True),
    "inference_times": lambda name: inference_table(RESULTS / f"benchmark_{name}.json", trained=False),
}

# tables of their own
ALONE = {
    "network_costs": lambda: network_costs_table(),
    "recipes": lambda: recipes_table(RESULTS),
    "released": lambda: released_table(RESULTS),
}


def filled(page: str) -> str:
    """Return a page with the text between its markers replaced by what the files give.

    Args:
        page: Markdown with pairs of `<!-- KIND -->` or `<!-- KIND FOLDER -->` and `<!-- end of KIND -->`, where KIND is
            `speed`, or one of `ALONE`, `BENCHMARKS`, `EXPERIMENTS` or `FOLDERS`.

    Returns:
        The page.
    """

    def content(found: re.Match[str]) -> str:
        start, kind, folder, end = found.group("start", "kind", "folder", "end")
        if kind == "speed":
            return f"{start}{speedup()}{end}"
        if kind in ALONE:
            table = ALONE[kind]()
        elif kind in BENCHMARKS:
            table = BENCHMARKS[kind](folder)
        else:
            table = {**EXPERIMENTS, **FOLDERS}[kind](RESULTS / folder)
        return f"{start}\n{table}\n{end}"

    kinds = "|".join(["speed", *ALONE, *BENCHMARKS, *EXPERIMENTS, *FOLDERS])
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
        print(f"not what docs/results gives: {', '.join(str(path) for path in stale)}; run scripts/results_table.py")
        return 1
    print(f"{'checked' if check else 'written'}: {len(PAGES)} pages, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
