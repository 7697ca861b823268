"""Write the tables of the documentation from the files under docs/results, or check that they are up to date.

python scripts/update_tables.py            # write
python scripts/update_tables.py --check    # exit with 1 if a table is out of date
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from hybrid_attention.evaluation.calibrate import calibration_tables
from hybrid_attention.evaluation.formatting import markdown_rows, percent, percent_interval, score_interval
from hybrid_attention.evaluation.metrics.classification import rank_auc
from hybrid_attention.evaluation.results import read_csv, read_record
from hybrid_attention.evaluation.statistics import bootstrap_mean, bootstrap_statistic
from hybrid_attention.evaluation.stress import stress_summary
from tables_of_networks import (
    ROWS,
    captioned,
    classes_table,
    conventions_table,
    cross_validation_table,
    inference_table,
    network_costs_table,
    one_run_table,
    peers_table,
    predict_table,
    released_table,
    results_table,
    speedup,
    throughput_table,
    training_table,
)
from tables_of_studies import (
    by_class_table,
    data_sets_table,
    leaks_table,
    normal_images_table,
    normal_thresholds_table,
    recipes_table,
    study_table,
)

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    RESULTS / "README.md",
    *sorted((ROOT / "bundles").glob("*/docs/README.md")),
)
_STRENGTHS = (1, 3, 5)
# measures of a lesion, and whether higher or lower values are suspicious by BI-RADS
_SUSPICIOUS = {
    "width_to_height": "lower",
    "circularity": "lower",
    "ellipse_overlap": "lower",
    "margin_roughness": "higher",
    "echo_ratio": "lower",
    "posterior_echo_ratio": "lower",
}
_OTHERS = ("attention of other images on the lesion, %", "lift of other images")
_WORDS = ("computed_orientation", "computed_shape")


def stress_table(folder: Path) -> str:
    """Make the table of Dice on degraded images, at three of the five strengths, from a `hybrid-attention stress`."""
    summary, rows = stress_summary(read_csv(folder / "stress.csv", ("case_id", "class", "group"))), []
    for kind, entry in summary["kinds"].items():
        strengths = {one["strength"]: one for one in entry["strengths"]}
        change = strengths[_STRENGTHS[-1]]["dice_difference"]
        rows.append(
            {
                "degradation": kind,
                "unit": entry["unit"],
                **{f"Dice at strength {one}": percent(strengths[one]["dice"]["mean"]) for one in _STRENGTHS},
                f"change at strength {_STRENGTHS[-1]}": score_interval(change, signed=True),
            }
        )
    clean = score_interval(summary["clean"]["dice"])
    return captioned(f"{summary['lesion_cases']} lesion images; Dice without degradation: {clean}.", rows)


def attention_table(results: Path, networks: Mapping[str, str]) -> str:
    """Make the table of the attention to the lesion, one row per network and map.

    Args:
        results: the folder docs/results.
        networks: titles by folder of an evaluation with `--attention True`, all of the same images.
    """
    rows, titles = [], ("attention on the lesion, %", "lift", "images with a lift above 1, %", *_OTHERS)
    for folder, network in networks.items():
        cases = read_csv(results / folder / "per_case.csv", ("case_id", "group"))
        cases["area"] = (cases["tp"] + cases["fn"]) / cases[["tp", "fp", "fn", "tn"]].sum(axis=1)
        lesions = cases[cases["area"] > 0]
        found = read_csv(results / folder / "attention.csv", ("case_id",))
        for name, own in found.merge(lesions[["case_id", "group"]], on="case_id").groupby("map", sort=False):
            cells = dict.fromkeys(titles, "")
            if own["lift"].notna().all():
                lift, others = (
                    "{:.2f} [{:.2f}, {:.2f}]".format(*bootstrap_mean(own[column], own["group"]))
                    for column in ("lift", "lift_of_others")
                )
                above = percent((own["lift"] > 1).mean())
                values = percent(own["coverage"].mean()), lift, above, percent(own["coverage_of_others"].mean()), others
                cells = dict(zip(titles, values, strict=True))
            rows.append({"network": network, "map": f"`{name}`", "entropy": f"{own['entropy'].mean():.3f}", **cells})
    caption = (
        f"{len(lesions)} lesion images, {percent(lesions['area'].mean())} % lesion on average; means, 95 % intervals "
        "by bootstrap over duplicate groups."
    )
    return captioned(caption, rows)


def calibrate_table(folder: Path) -> str:
    """Make the tables of test-time augmentation, threshold, temperature and failure prediction.

    Args:
        folder: output of `hybrid-attention calibrate`.

    Raises:
        ValueError: the Dice of a variant is not the mean of its cases.
    """
    summary = read_record(folder / "summary.json")
    means = read_csv(folder / "cases.csv").groupby("variant")["dice"].mean()
    for one in summary["variants"]:
        if not math.isclose(means[one["variant"]], one["test_dice_at_threshold"], abs_tol=1e-9):
            raise ValueError(f"{folder}: the Dice of {one['variant']} is not the mean of its rows in cases.csv")
    return _title(calibration_tables(summary))


def averages_table(experiment: Path) -> str:
    """Make the table of test-time augmentation and ensembles over all test folds.

    Args:
        experiment: folder with `calibrate/fold_F`, the outputs of `hybrid-attention calibrate` on the same networks.

    Raises:
        ValueError: there are no folds, they differ in their variants, or a case is in two of them.
    """
    folds = sorted((experiment / "calibrate").glob("fold_*"))
    if not folds:
        raise ValueError(f"no calibrate/fold_F in {experiment}")
    variants = [{one["variant"]: one for one in read_record(fold / "summary.json")["variants"]} for fold in folds]
    names = list(variants[0])
    if any(list(fold) != names for fold in variants):
        raise ValueError(f"the folds of {experiment}/calibrate differ in their variants")
    cases = pd.concat([read_csv(fold / "cases.csv") for fold in folds]).dropna(subset="dice")
    if cases.duplicated(["variant", "case_id"]).any():
        raise ValueError(f"{experiment}/calibrate has a case in two folds")
    first, rows = cases[cases["variant"] == names[0]]["dice"].to_numpy(), []
    for name in names:
        own, parts = cases[cases["variant"] == name], [fold[name] for fold in variants]
        change = percent_interval(*bootstrap_mean(own["dice"].to_numpy() - first, own["group"]), signed=True)
        thresholds = [part["threshold"] for part in parts]
        rows.append(
            {
                "prediction": _title(name),
                "s/image": f"{statistics.mean(part['seconds_per_image'] for part in parts):.2f}",
                "Dice, validation": percent(statistics.mean(part["validation_dice"] for part in parts)),
                "Dice, test": percent_interval(*bootstrap_mean(own["dice"], own["group"])),
                "difference to first row": "" if name == names[0] else change,
                "thresholds": f"{min(thresholds):.2f} to {max(thresholds):.2f}",
            }
        )
    caption = (
        f"{len(folds)} test folds, {len(first)} images, each predicted by networks not trained on its fold; 95 % "
        "intervals by bootstrap over duplicate groups. Validation: mean of the folds at threshold 0.5; test: at the "
        "threshold chosen on validation."
    )
    return captioned(caption, rows)


def _title(variant: str) -> str:
    return variant.replace("as is", "no augmentation")


def measurements_table(path: Path) -> str:
    """Make the tables of the agreement of lesion measurements with pathology, from `benchmarks/measurements.py`."""
    table = read_csv(path, ("masks", "case_id", "group", "class"))
    parts = {masks: table[table["masks"] == masks] for masks in ("true", "predicted")}
    parts = {f"{masks} masks, {len(rows)} images": rows for masks, rows in parts.items()}
    measures = [
        {
            "measure": f"`{name}`",
            "malignant if": direction,
            **{f"AUC, {title}": _malignancy_auc(rows, name, direction) for title, rows in parts.items()},
        }
        for name, direction in _SUSPICIOUS.items()
    ]
    words = [
        {
            "word": f"`{name}`",
            "": word,
            **{f"malignant, {title}": _malignant_share(rows[rows[name] == word]) for title, rows in parts.items()},
        }
        for name in _WORDS
        for word in sorted(table[name].unique())
    ]
    return f"{markdown_rows(measures)}\n\n{markdown_rows(words)}"


def _malignancy_auc(rows: pd.DataFrame, name: str, direction: str) -> str:
    """Return the area under the ROC curve for malignancy, in percent with its interval, and how many are undefined."""
    known = rows.dropna(subset=name)
    malignant, values = (known["class"] == "malignant").to_numpy(), known[name].to_numpy(dtype=float)
    signed = values if direction == "higher" else -values
    area = bootstrap_statistic(lambda index: rank_auc(signed[index], malignant[index]), known["group"].tolist())
    left_out = len(rows) - len(known)
    return percent_interval(*area) + (f", without {left_out}" if left_out else "")


def _malignant_share(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "none"
    return f"{percent_interval(*bootstrap_mean(rows['class'] == 'malignant', rows['group']))} of {len(rows)}"


# tables made from a folder under docs/results, by marker
TABLES = {
    "averages": averages_table,
    "results": results_table,
    "cross_validation": cross_validation_table,
    "conventions": conventions_table,
    "peers": peers_table,
    "classes": classes_table,
    "by_class": by_class_table,
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
    "throughput": throughput_table,
    "predict": predict_table,
    "inference_times": lambda path: inference_table(path, trained=False),
}
# tables without a folder, by marker
STANDALONE_TABLES = {
    "attention": lambda: attention_table(RESULTS, ROWS["attention"]),
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
