"""Tables of robustness, ensembles, calibration and lesion measurements for `update_tables.py`."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hybrid_attention.evaluation import bootstrap_ratio
from hybrid_attention.evaluation.formatting import markdown_grid, percent, percent_interval, score_interval
from hybrid_attention.evaluation.results import read_csv, read_record
from hybrid_attention.evaluation.robustness import stress_summary
from hybrid_attention.evaluation.statistics import bootstrap_statistic
from scipy.stats import rankdata

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
_WORDS = ("computed_orientation", "computed_shape")


def stress_table(folder: Path) -> str:
    """Make the table of Dice on degraded images, at three of the five strengths.

    Args:
        folder: output of `hybrid-attention stress`, with `stress.csv`.
    """
    summary, rows = stress_summary(read_csv(folder / "stress.csv", ("case_id", "class", "group"))), []
    for kind, entry in summary["kinds"].items():
        strengths = {one["strength"]: one for one in entry["strengths"]}
        change = strengths[_STRENGTHS[-1]]["dice_difference"]
        cells = [percent(strengths[strength]["dice"]["mean"]) for strength in _STRENGTHS]
        changed = percent_interval(change["mean"], change["low"], change["high"], signed=True)
        rows.append((kind, entry["unit"], *cells, changed))
    dice_at = [f"Dice at strength {one}" for one in _STRENGTHS]
    header = ("degradation", "unit", *dice_at, f"change at strength {_STRENGTHS[-1]}")
    clean = score_interval(summary["clean"]["dice"])
    return (
        f"{summary['lesion_cases']} lesion images; Dice without degradation: {clean}.\n\n{markdown_grid(header, rows)}"
    )


def attention_table(folder: Path) -> str:
    """Make the table of the attention to the lesion, one row per map.

    Args:
        folder: an evaluation with `--attention True`, with `per_case.csv` and `attention.csv`.
    """
    cases = read_csv(folder / "per_case.csv", ("case_id", "group"))
    cases["area"] = (cases["tp"] + cases["fn"]) / cases[["tp", "fp", "fn", "tn"]].sum(axis=1)
    lesions = cases[cases["area"] > 0]
    found = read_csv(folder / "attention.csv", ("case_id",)).merge(lesions[["case_id", "group"]], on="case_id")
    rows = []
    for name, own in found.groupby("map", sort=False):
        cells = [""] * 3
        if own["lift"].notna().all():
            mean, low, high = bootstrap_ratio(own["lift"].to_numpy(), np.ones(len(own)), own["group"])
            above = f"{percent((own['lift'] > 1).mean())}"
            cells = [percent(own["coverage"].mean()), f"{mean:.2f} [{low:.2f}, {high:.2f}]", above]
        rows.append((f"`{name}`", f"{own['entropy'].mean():.3f}", *cells))
    header = ("map", "entropy", "attention on the lesion, %", "lift", "images with a lift above 1, %")
    caption = (
        f"{len(lesions)} lesion images, {percent(lesions['area'].mean())} % lesion on average; means, 95 % intervals "
        "by bootstrap over duplicate groups."
    )
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def calibrate_table(folder: Path) -> str:
    """Make the tables of test-time augmentation, threshold, temperature and failure prediction.

    Args:
        folder: output of `hybrid-attention calibrate`, with `cases.csv` and `summary.json`.

    Raises:
        ValueError: the Dice of a variant is not the mean of its cases.
    """

    def interval(row: dict[str, Any], name: str, signed: bool = False) -> str:
        return percent_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], signed=signed)

    summary = read_record(folder / "summary.json")
    means = read_csv(folder / "cases.csv").groupby("variant")["dice"].mean()
    rows = []
    for one in summary["variants"]:
        name = one["variant"]
        if not math.isclose(means[name], one["test_dice_at_threshold"], abs_tol=1e-9):
            raise ValueError(f"{folder}: the Dice of {name} is not the mean of its rows in cases.csv")
        rows.append(
            (
                _title(name),
                f"{one['seconds_per_image']:.2f}",
                percent(one["validation_dice"]),
                interval(one, "test_dice"),
                "" if name == summary["plain"] else interval(one, "difference", signed=True),
                f"{one['threshold']:.2f}",
                interval(one, "threshold_gain", signed=True),
                f"{one['temperature']:.2f}",
                f"{one['ece']:.4f}",
                f"{one['ece_scaled']:.4f}",
            )
        )
    header = ("prediction", "s/image", "Dice, validation", "Dice, test", "difference", "threshold", "gain by threshold")
    table = markdown_grid((*header, "temperature", "ECE", "ECE, scaled"), rows)
    confidences = [
        (variant, name, one) for variant, all_ in summary["confidence"].items() for name, one in all_.items()
    ]
    shown = []
    for variant, name, one in confidences:
        areas = [percent_interval(**one[key]) for key in ("aurc", "e_aurc")]
        shown.append((_title(variant), name.replace("_", " "), *areas, f"{one['rank_correlation']:.2f}"))
    first = confidences[0][2]
    orders = f"AURC of a random ranking: {percent(first['random'])}; of a perfect ranking: {percent(first['perfect'])}."
    confidence = markdown_grid(("prediction", "confidence", "AURC", "E-AURC", "rank correlation"), shown)
    return f"{table}\n\n{confidence}\n\n{orders}"


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
        ones, dice = np.ones(len(own)), own["dice"].to_numpy()
        change = bootstrap_ratio(dice - first, ones, own["group"])
        thresholds = [part["threshold"] for part in parts]
        rows.append(
            (
                _title(name),
                f"{statistics.mean(part['seconds_per_image'] for part in parts):.2f}",
                percent(statistics.mean(part["validation_dice"] for part in parts)),
                percent_interval(*bootstrap_ratio(dice, ones, own["group"])),
                "" if name == names[0] else percent_interval(*change, signed=True),
                f"{min(thresholds):.2f} to {max(thresholds):.2f}",
            )
        )
    header = ("prediction", "s/image", "Dice, validation", "Dice, test", "difference to first row", "thresholds")
    caption = (
        f"{len(folds)} test folds, {len(first)} images, each predicted by networks not trained on its fold; 95 % "
        "intervals by bootstrap over duplicate groups. Validation: mean of the folds at threshold 0.5; test: at the "
        "threshold chosen on validation."
    )
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def measurements_table(path: Path) -> str:
    """Make the tables of the agreement of lesion measurements with pathology.

    Args:
        path: output of `scripts/benchmarks/measurements.py`.
    """
    table = read_csv(path, ("masks", "case_id", "group", "class"))
    both = {masks: table[table["masks"] == masks] for masks in ("true", "predicted")}
    sizes = [f"{masks} masks, {len(rows)} images" for masks, rows in both.items()]
    measures = [
        (f"`{name}`", direction, *(_malignancy_auc(rows, name, direction) for rows in both.values()))
        for name, direction in _SUSPICIOUS.items()
    ]
    words = []
    for name in _WORDS:
        for word in sorted(table[name].unique()):
            shares = [_malignant_share(rows[rows[name] == word]) for rows in both.values()]
            words.append((f"`{name}`", word, *shares))
    first = markdown_grid(("measure", "malignant if", *(f"AUC, {size}" for size in sizes)), measures)
    return f"{first}\n\n{markdown_grid(('word', '', *(f'malignant, {size}' for size in sizes)), words)}"


def _malignancy_auc(rows: pd.DataFrame, name: str, direction: str) -> str:
    """Return the area under the ROC curve for malignancy, in percent with its interval, and how many are undefined."""
    known = rows.dropna(subset=name)
    malignant, values = (known["class"] == "malignant").to_numpy(), known[name].to_numpy(dtype=float)
    signed = values if direction == "higher" else -values

    def area(index: np.ndarray) -> float:
        ranks, own = rankdata(signed[index]), malignant[index]
        count = int(own.sum())
        return float((ranks[own].sum() - count * (count + 1) / 2) / max(count * (len(own) - count), 1))

    shown = percent_interval(*bootstrap_statistic(area, known["group"].tolist()))
    left_out = len(rows) - len(known)
    return f"{shown}, without {left_out}" if left_out else shown


def _malignant_share(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "none"
    share = bootstrap_ratio((rows["class"] == "malignant").to_numpy(dtype=float), np.ones(len(rows)), rows["group"])
    return f"{percent_interval(*share)} of {len(rows)}"


def _title(variant: str) -> str:
    return variant.replace("as is", "no augmentation")
