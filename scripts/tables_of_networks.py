"""Tables of the scores and costs of networks for `update_tables.py`.

Those of scores are made from the folder of an experiment, with one folder per run; `table_rows.yaml` names and orders
the runs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hybrid_attention.engines.training_record import trained_epochs
from hybrid_attention.evaluation import CONVENTIONS, Evaluation, paired_tests, read_evaluation
from hybrid_attention.evaluation.formatting import markdown_rows, number, percent, percent_interval, score_interval
from hybrid_attention.evaluation.metrics.classification import class_summary
from hybrid_attention.evaluation.results import read_record
from hybrid_attention.report.matched_runs import match_runs, paired_scores

ROWS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("table_rows.yaml").read_text(encoding="utf-8"))
SUMMARIES = {"training": "_train", "validation": "_validation", "test": ""}
FALSE_POSITIVES = "false-positive rate on normal images"
_CLASS_SCORES = {"accuracy": "class accuracy", "balanced_accuracy": "balanced accuracy", "macro_auc": "macro AUC"}
# what all rows of a table must share
_SAME = (
    "split",
    "settings.image_size",
    "synthetic_data",
    "lesion_cases",
    "provenance.overrides.epochs",
    "provenance.config_files",
)
# the intervals do not cover the spread between seeds
_INTERVAL = "95 % intervals by bootstrap over duplicate groups of images (not over seeds)"


def captioned(caption: str, rows: Sequence[Mapping[str, str]]) -> str:
    """Format a table with a caption; the header is that of the first row."""
    return f"{caption}\n\n{markdown_rows(rows)}"


def read_runs(experiment: Path) -> dict[str, Evaluation]:
    """Read the runs of an experiment by the name of their folder; they must share what `_SAME` names."""
    runs = {
        name: read_evaluation(f"{title}={experiment / name}")
        for name, title in ROWS["runs"][experiment.name].items()
        if (experiment / name / "per_case.csv").is_file()
    }
    if not runs:
        raise ValueError(f"no run with a per_case.csv in {experiment}")
    first = next(iter(runs.values()))
    same = [key for key in _SAME if key not in ROWS["may_differ"].get(experiment.name, ())]
    for name, run in runs.items():
        other = [key for key in same if run.recorded(*key.split(".")) != first.recorded(*key.split("."))]
        if other:
            raise ValueError(f"{experiment}/{name} can't be compared with the other runs: {', '.join(other)} differ")
    return runs


def results_table(experiment: Path) -> str:
    """Make the table of segmentation scores on lesion images."""
    runs = list(read_runs(experiment).values())
    rows = [
        {
            "network": run.name,
            **dice_and_jaccard(run),
            "Dice, pooled over pixels": percent(run.summary["pooled"]["dice"]["value"]),
            "Dice difference to first row": difference(run, runs[0]),
        }
        for run in runs
    ]
    return captioned(lesion_caption(*runs), rows)


def cross_validation_table(experiment: Path) -> str:
    """Make the table of Dice on lesion images: per fold, averaged over folds, and over all images.

    Each run's folder holds the merged folds and, in `fold_F`, each fold with its `summary_validation.json`.
    """
    runs, rows = read_runs(experiment), []
    first = next(iter(runs.values()))
    for name, run in runs.items():
        folds = run.recorded("folds")
        places = [experiment / name / f"fold_{fold}" / "summary_validation.json" for fold in folds["merged"]]
        validation = statistics.mean(read_record(place)["lesion_only"]["dice"]["mean"] for place in places)
        mean, dice = folds["scores"]["dice_lesion_only"], run.summary["lesion_only"]["dice"]
        by_fold = {f"fold {fold['fold']}": percent(fold["scores"]["dice_lesion_only"]) for fold in folds["runs"]}
        rows.append(
            {
                "network": run.name,
                "validation": percent(validation),
                **by_fold,
                "mean of folds": f"{percent(mean['mean'])} ± {percent(mean['sd'])}",
                "all images": score_interval(dice),
                "median": percent(dice["median"]),
                f"difference to {first.name}": difference(run, first),
            }
        )
    caption = (
        f"{first.recorded('split')}; {size_of(first)}, {epochs_of(*runs.values())}; Dice of "
        f"{first.recorded('lesion_cases')} images in percent, each predicted by the network not "
        f"trained on its fold; mean of folds ± standard deviation; {_INTERVAL}."
    )
    return captioned(caption, rows)


def classes_table(experiment: Path) -> str:
    """Make the tables of segmentation and classification scores, and the confusion matrix."""
    runs = list(read_runs(experiment).values())
    rows, confusion = [], []
    for run in runs:
        scores, lesions, pooled = class_summary(run.cases), run.summary["lesion_only"], run.summary["pooled"]
        rows.append(
            {
                "network": run.name,
                "Dice, lesion images": score_interval(lesions["dice"]),
                "Jaccard, lesion images": score_interval(lesions["jaccard"]),
                "Dice, pooled": percent(pooled["dice"]["value"]),
                "Jaccard, pooled": percent(pooled["jaccard"]["value"]),
                "Dice difference to first row": difference(run, runs[0]),
                **{title: score_interval(scores[key]) if scores else "" for key, title in _CLASS_SCORES.items()},
            }
        )
        if scores:
            names = scores["class_names"]
            for name, counts in zip(names, scores["confusion"], strict=True):
                cells = {f"predicted {other}": str(count) for other, count in zip(names, counts, strict=True)}
                confusion.append({"network": run.name, "true class": name, **cells})
    return f"{captioned(caption_of(*runs), rows)}\n\n{markdown_rows(confusion)}"


def conventions_table(experiment: Path) -> str:
    """Make the table of Dice under each convention, false-positive rate, and pixel AUC of the scored parts."""
    runs, rows = read_runs(experiment), []
    for name, run in runs.items():
        files = {part: experiment / name / f"summary{end}.json" for part, end in SUMMARIES.items()}
        areas = {part: read_record(file)["pixel_roc"]["auc"] for part, file in files.items() if file.is_file()}
        rows.append(
            {
                "model": run.name,
                **{convention: score_interval(run.summary[convention]["dice"]) for convention in CONVENTIONS},
                FALSE_POSITIVES: percent(run.summary["false_positive_rate_without_lesion"]),
                f"pixel AUC: {' / '.join(areas)}": " / ".join(number(area, 3) for area in areas.values()),
            }
        )
    return captioned(caption_of(*runs.values()), rows)


def released_table(results: Path) -> str:
    """Make the table of test scores of the released weights, from the folder docs/results."""
    rows = []
    for bundle, folder in ROWS["released"].items():
        run = read_evaluation(f"{bundle}={results / folder}")
        dice, classes = run.summary["lesion_only"]["dice"], class_summary(run.cases)
        images, lesions = run.recorded("cases"), run.recorded("lesion_cases")
        rate = percent(run.summary["false_positive_rate_without_lesion"])
        rows.append(
            {
                "bundle": f"`{bundle}`",
                f"Dice, {lesions} images with lesion": score_interval(dice),
                "median Dice": percent(dice["median"]),
                f"false-positive rate, {images - lesions} normal images": rate,
                "class accuracy": score_interval(classes["accuracy"]) if classes else "none",
                "macro AUC": score_interval(classes["macro_auc"]) if classes else "none",
            }
        )
    return markdown_rows(rows)


def one_run_table(folder: Path) -> str:
    """Make the table of one run's scores, one row per convention."""
    summary, names = read_evaluation(folder).summary, ("dice", "jaccard", "sensitivity", "precision")
    return markdown_rows(
        [
            {"convention": f"`{one}`", **{name.capitalize(): score_interval(summary[one][name]) for name in names}}
            for one in CONVENTIONS
        ]
    )


def read_benchmark(path: Path) -> dict[str, Any]:
    """Read the output of a script in benchmarks/, docs/results/benchmark_NAME.json for docs/results/NAME."""
    return read_record(path.with_name(f"benchmark_{path.name}.json"))


def filled_in(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Format the cells of rows, given a format string per column."""
    return [{title: text.format_map(row) for title, text in columns.items()} for row in rows]


def training_table(path: Path) -> str:
    """Make the table of time and memory per training step, from the output of `benchmarks/training.py`."""
    benchmark, rows = read_benchmark(path), []
    for row in benchmark["rows"]:
        total = sum(row["seconds"].values())
        shares = {part: f"{100 * seconds / total:.1f} %" for part, seconds in row["seconds"].items()}
        rows.append({**row, **shares, "precision": _precision(row)})
    columns = {
        "network": "{network}",
        "image size": "{image_size}",
        "batch": "{batch_size}",
        "precision": "{precision}",
        "images/s": "{images_per_second}",
        **{part: f"{{{part}}}" for part in ("forward", "backward", "optimizer", "data")},
        "peak memory": "{peak_memory_gib} GiB",
    }
    return captioned(f"{benchmark['provenance']['processor']}:", filled_in(rows, columns))


def speedup(path: Path) -> str:
    """Return the speed-up of bf16 over fp32 training of the hybrid bundle, from the folder docs/results."""
    benchmark = read_benchmark(path / "hybrid")
    rates = {(row["image_size"], row["precision"]): row["images_per_second"] for row in benchmark["rows"]}
    times = ", ".join(f"{rates[size, 'bf16'] / rates[size, 'fp32']:.1f} times at {size}" for size in (256, 128))
    return f"{times} on {benchmark['provenance']['processor']}"


def inference_table(path: Path, compared: bool = True) -> str:
    """Make the table of inference times, from `benchmarks/inference.py`; `compared` are trained networks' masks."""
    content = read_benchmark(path)
    facts, trained = content["provenance"], {row["network"] for row in content["rows"] if "dice" in row}
    rows = [_inference_row(row) for row in content["rows"] if (row["network"] in trained) == compared]
    caption = f"{_rounds(content)}; {', '.join(f'{name} {number}' for name, number in facts['versions'].items())}."
    if compared:
        caption += f" Masks and Dice: {facts['compared']} test images of {facts['images']} at this size, in percent."
    return captioned(caption, rows)


def inference_times_table(path: Path) -> str:
    """Make the table of inference times of the networks that were only timed."""
    return inference_table(path, compared=False)


def throughput_table(path: Path) -> str:
    """Make the table of images per second in batches, from the output of `benchmarks/inference.py`."""
    content = read_benchmark(path)
    columns = {"network": "{network}", "backend": "{variant}", "images/s": "{images_per_second:.1f}"}
    return captioned(f"{_rounds(content)}.", filled_in(content["rows"], columns))


def _rounds(content: Mapping[str, Any]) -> str:
    facts, row = content["provenance"], content["rows"][0]
    size = f"{row['image_size']} x {row['image_size']} pixels, batches of {row['batch_size']}"
    return f"{size}, median of {facts['repeats']} interleaved rounds; {facts['processor']}"


def _inference_row(row: Mapping[str, Any]) -> dict[str, str]:
    cells = {"network": row["network"], "backend": row["variant"], "ms per image (quartiles)": row.get("failure", "")}
    cells |= dict.fromkeys(("speed-up", "largest difference", "equal pixels", "Dice"), "")
    if not row.get("failure"):
        quartiles = f"{row['lower_quartile']:.1f}-{row['upper_quartile']:.1f}"
        cells["ms per image (quartiles)"] = f"{row['milliseconds']:.1f} ({quartiles})"
        cells["speed-up"] = f"{row['ratio']:.2f}"
    if "dice" in row:
        cells["largest difference"] = f"{row['largest_difference']:.1g}"
        cells["equal pixels"] = f"{math.floor(1e6 * row['equal_pixels']) / 1e4:.4f}"  # never rounded up to all
        cells["Dice"] = f"{100 * row['dice']:.2f} ({100 * row['dice_change']:+.2f})"
    return cells


def predict_table(path: Path) -> str:
    """Make the table of the times of the command, from the output of `benchmarks/predict.py`."""
    content = read_benchmark(path)
    caption = "{images} images of {data}, median of {repeats} rounds; {processor}.".format_map(content["provenance"])
    columns = {
        "bundle": "{network}",
        "backend": "{backend}",
        "pictures": "{outputs}",
        "one image, s": "{one_image_seconds:.2f}",
        "folder, s": "{seconds:.1f}",
        "images/s": "{images_per_second:.1f}",
    }
    return captioned(caption, filled_in(content["rows"], columns))


def network_costs_table(results: Path) -> str:
    """Make the table of computational costs of all networks, from the output of `benchmarks/training.py`."""
    costs = read_record(results / "network_costs.json")
    return captioned(
        f"{_how_measured(costs)}:", [{"network": name, **_costs_of(row)} for name, row in costs["rows"].items()]
    )


def peers_table(experiment: Path) -> str:
    """Make the table of Dice and computational cost per network, best Dice first."""
    runs = list(read_runs(experiment).values())
    costs, first = read_record(experiment.parent / "network_costs.json"), runs[0]
    rows = [
        {
            "network": run.name,
            **_costs_of(costs["rows"][run.name]),
            **dice_and_jaccard(run),
            f"Dice difference to {first.name}": difference(run, first),
        }
        for run in sorted(runs, key=lambda run: -run.summary["lesion_only"]["dice"]["mean"])
    ]
    return captioned(f"{lesion_caption(*runs)} Costs: {_how_measured(costs)}.", rows)


def _costs_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Format a network's costs; cells of missing measurements are empty."""
    size, memory, speed = (row.get(what) for what in ("size", "memory", "speed"))
    return {
        "parameters": f"{size['parameters']:,}" if size else "",
        "GFLOPs per image": f"{size['flops'] / 1e9:.1f}" if size else "",
        "training memory, GiB": f"{memory['training_memory_gib']:.1f}" if memory else "",
        "training images/s": f"{speed['images_per_second']:.2f}" if speed else "",
    }


def _how_measured(costs: Mapping[str, Any]) -> str:
    """Describe the settings of the measurements and the machine of those of speed."""
    settings = costs["settings"]
    measured = [row["speed"]["provenance"]["processor"] for row in costs["rows"].values() if "speed" in row]
    machines = dict.fromkeys(machine.replace(", 1 threads", ", one thread") for machine in measured)
    side, batch = settings["image_size"], settings["batch_size"]
    return ", ".join([f"{side} x {side} pixels", _precision(settings), f"batches of {batch}", *machines])


def _precision(settings: Mapping[str, Any]) -> str:
    return str(settings["precision"]) + (", channels_last" if settings["channels_last"] else "")


def difference(run: Evaluation, reference: Evaluation) -> str:
    """Format the mean paired Dice difference and its interval in percent."""
    if run is reference:
        return ""
    paired = paired_scores(match_runs([run, reference]))
    return paired_difference(paired.scores, paired.groups)


def paired_difference(scores: Mapping[str, list[float]], groups: list[str]) -> str:
    """Format the mean difference of the first minus the second."""
    (test,) = paired_tests(scores, groups)
    return percent_interval(test.difference, test.low, test.high, signed=True)


def dice_and_jaccard(run: Evaluation) -> dict[str, str]:
    """Format the scores of the lesion images."""
    scores = run.summary["lesion_only"]
    median = percent(scores["dice"]["median"])
    return {"Dice": score_interval(scores["dice"]), "median Dice": median, "Jaccard": score_interval(scores["jaccard"])}


def lesion_caption(*runs: Evaluation) -> str:
    """Describe the images, size and epochs of scores on lesion images."""
    images = f"mean of {runs[0].recorded('lesion_cases')} images in percent"
    return f"{runs[0].recorded('split')}; {size_of(runs[0])}; {epochs_of(*runs)}; {images}, {_INTERVAL}."


def size_of(run: Evaluation) -> str:
    """Name the network's input size."""
    size = run.recorded("settings", "image_size")
    return f"{size} x {size} pixels"


def epochs_of(*runs: Evaluation) -> str:
    """Name the epochs of the trainings, once if they are the same in all rows."""
    numbers = [str(trained_epochs(run.record["training"])) for run in runs]
    return f"{numbers[0]} epochs" if len(set(numbers)) == 1 else f"{', '.join(numbers)} epochs (by row)"


def caption_of(*runs: Evaluation) -> str:
    """Describe the images, size and epochs of scores on all images."""
    run = runs[0]
    cases, lesions = run.recorded("cases"), run.recorded("lesion_cases")
    return (
        f"{run.recorded('split')}; {size_of(run)}; {epochs_of(*runs)}; {cases} images, {lesions} with lesion. "
        f"Scores in percent, {_INTERVAL}."
    )
