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
from pathlib import Path

import pandas as pd
import tables_of_networks as networks
import tables_of_studies as studies
from hybrid_attention.evaluation.calibrate import calibration_tables
from hybrid_attention.evaluation.formatting import markdown_rows, percent, percent_interval, score_interval
from hybrid_attention.evaluation.metrics.classification import rank_auc
from hybrid_attention.evaluation.results import read_csv, read_record
from hybrid_attention.evaluation.statistics import bootstrap_mean, bootstrap_statistic
from hybrid_attention.evaluation.stress import stress_summary
from tables_of_networks import ROWS, captioned

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
_AS_IS = ("as is", "no augmentation")
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


def attention_table(results: Path) -> str:
    """Make the table of the attention to the lesion, one row per network and map, from the folder docs/results."""
    rows, titles = [], ("attention on the lesion, %", "lift", "images with a lift above 1, %", *_OTHERS)
    for folder, network in ROWS["attention"].items():
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
    """Make the tables of test-time augmentation, threshold, temperature and failure prediction of `calibrate`."""
    summary = read_record(folder / "summary.json")
    means = read_csv(folder / "cases.csv").groupby("variant")["dice"].mean()
    for one in summary["variants"]:
        if not math.isclose(means[one["variant"]], one["test_dice_at_threshold"], abs_tol=1e-9):
            raise ValueError(f"{folder}: the Dice of {one['variant']} is not the mean of its rows in cases.csv")
    return calibration_tables(summary).replace(*_AS_IS)


def averages_table(experiment: Path) -> str:
    """Make the table of test-time augmentation and ensembles over all test folds, from `calibrate/fold_F`."""
    folds = sorted((experiment / "calibrate").glob("fold_*"))
    variants = [{one["variant"]: one for one in read_record(fold / "summary.json")["variants"]} for fold in folds]
    names = list(variants[0])
    cases = pd.concat([read_csv(fold / "cases.csv") for fold in folds]).dropna(subset="dice")
    first, rows = cases[cases["variant"] == names[0]]["dice"].to_numpy(), []
    for name in names:
        own, parts = cases[cases["variant"] == name], [fold[name] for fold in variants]
        change = percent_interval(*bootstrap_mean(own["dice"].to_numpy() - first, own["group"]), signed=True)
        thresholds = [part["threshold"] for part in parts]
        rows.append(
            {
                "prediction": name.replace(*_AS_IS),
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


def measurements_table(results: Path) -> str:
    """Make the tables of the agreement of lesion measurements with pathology, from `benchmarks/measurements.py`."""
    table = read_csv(results / "measurements_bus_bra.csv", ("masks", "case_id", "group", "class"))
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


# tables by marker, made from a path under docs/results
TABLES = {
    "attention": attention_table,
    "averages": averages_table,
    "benchmark": networks.training_table,
    "by_class": studies.by_class_table,
    "calibrate": calibrate_table,
    "classes": networks.classes_table,
    "conventions": networks.conventions_table,
    "cross_validation": networks.cross_validation_table,
    "data_sets": studies.data_sets_table,
    "inference": networks.inference_table,
    "inference_times": networks.inference_times_table,
    "leaks": studies.leaks_table,
    "measurements": measurements_table,
    "network_costs": networks.network_costs_table,
    "normal_images": studies.normal_images_table,
    "normal_thresholds": studies.normal_thresholds_table,
    "peers": networks.peers_table,
    "predict": networks.predict_table,
    "recipes": studies.recipes_table,
    "released": networks.released_table,
    "results": networks.results_table,
    "run": networks.one_run_table,
    "speed": networks.speedup,
    "stress": stress_table,
    "study": studies.study_table,
    "throughput": networks.throughput_table,
}
_MARKED = re.compile(
    rf"(?P<start><!-- (?P<kind>{'|'.join(TABLES)})(?: (?P<path>[\w/]+))? -->).*?(?P<end><!-- end of (?P=kind) -->)",
    re.S,
)


def filled(page: str) -> str:
    """Return a page with the text between its markers replaced by up-to-date tables.

    Args:
        page: Markdown with pairs of `<!-- KIND -->` or `<!-- KIND PATH -->` and `<!-- end of KIND -->`, where KIND is a
            key of `TABLES` and PATH is below docs/results.
    """

    def content(found: re.Match[str]) -> str:
        start, kind, path, end = found.group("start", "kind", "path", "end")
        text = TABLES[kind](RESULTS / (path or ""))
        return f"{start}\n{text}\n{end}" if "\n" in text else f"{start}{text}{end}"

    return _MARKED.sub(content, page)


def main() -> int:
    """Write or check the pages."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true")
    check = options.parse_args().check
    texts = {path: path.read_text(encoding="utf-8") for path in PAGES}
    stale = {path: new for path, old in texts.items() if (new := filled(old)) != old}
    if check and stale:
        print(f"out of date: {', '.join(map(str, stale))}; run scripts/update_tables.py")
        return 1
    for path, new in stale.items():
        path.write_text(new, encoding="utf-8")
    print(f"{'checked' if check else 'written'}: {len(PAGES)} pages, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
