"""The tables of degraded images and of reliability, for `results_table.py`."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from hybrid_attention.evaluation.robustness import stress_summary
from hybrid_attention.evaluation.text import markdown_grid, percent, percent_interval, score_interval

_COUNTS = ("strength", "tp", "fp", "fn", "tn")
_SHOWN = (1, 3, 5)
# a mean of cases.csv and of variants.csv are one number
_SAME = 1e-9


def stress_table(folder: Path) -> str:
    """Lay out what corruptions do to a trained network.

    Args:
        folder: with the `stress.csv` of `hybrid-attention stress`.

    Returns:
        Markdown: Dice at three of the five strengths, and the change at the last.
    """
    summary = stress_summary([_typed(row) for row in _rows(folder / "stress.csv")])
    rows = []
    for kind, entry in summary["kinds"].items():
        strengths = {one["strength"]: one for one in entry["strengths"]}
        change = strengths[_SHOWN[-1]]["dice_difference"]
        cells = [percent(strengths[strength]["dice"]["mean"]) for strength in _SHOWN]
        changed = percent_interval(change["mean"], change["low"], change["high"], signed=True)
        rows.append((kind, entry["unit"], *cells, changed))
    header = ("degradation", "level", *(f"Dice at {one}" for one in _SHOWN), f"change at {_SHOWN[-1]}")
    clean = score_interval(summary["clean"]["dice"])
    return f"{summary['lesion_cases']} lesion images; as they are: {clean}.\n\n{markdown_grid(header, rows)}"


def reliability_table(folder: Path) -> str:
    """Lay out what averages, threshold and temperature bring, and how well failures are known.

    Args:
        folder: of `hybrid-attention reliability`, with `cases.csv` and `summary.json`.

    Returns:
        Markdown: a table of the variants, one of the confidence scores.

    Raises:
        ValueError: the Dice of a variant is not the mean of its cases.
    """
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    cases = _rows(folder / "cases.csv")
    for one in summary["variants"]:
        scores = [float(row["dice"]) for row in cases if row["variant"] == one["variant"]]
        scores = [score for score in scores if not math.isnan(score)]
        if not scores or abs(sum(scores) / len(scores) - one["test_dice_at_threshold"]) > _SAME:
            raise ValueError(f"{folder}: the Dice of {one['variant']} is not the mean of its rows in cases.csv")
    variants = [
        (
            one["variant"],
            f"{one['seconds_per_image']:.2f}",
            percent(one["validation_dice"]),
            _interval(one, "test_dice"),
            "" if one["variant"] == summary["plain"] else _interval(one, "difference", signed=True),
            f"{one['threshold']:.2f}",
            _interval(one, "threshold_gain", signed=True),
            f"{one['temperature']:.2f}",
            f"{one['ece']:.4f}",
            f"{one['ece_scaled']:.4f}",
        )
        for one in summary["variants"]
    ]
    header = ("passes", "s/image", "Dice, validation", "Dice, test", "minus as is", "threshold", "which brings")
    table = markdown_grid((*header, "temperature", "ECE", "ECE, scaled"), variants)
    return f"{table}\n\n{_confidences(summary)}"


def _confidences(summary: dict[str, Any]) -> str:
    rows = [
        (
            variant,
            name.replace("_", " "),
            *(_area(score, key) for key in ("aurc", "e_aurc")),
            f"{score['rank_correlation']:.2f}",
        )
        for variant, scores in summary["confidence"].items()
        for name, score in scores.items()
    ]
    first = next(iter(next(iter(summary["confidence"].values())).values()))
    orders = f"AURC of a random order {percent(first['random'])}, of the perfect one {percent(first['perfect'])}."
    return f"{markdown_grid(('passes', 'confidence', 'AURC', 'E-AURC', 'rank correlation'), rows)}\n\n{orders}"


def _area(score: dict[str, Any], key: str) -> str:
    one = score[key]
    return percent_interval(one["value"], one["low"], one["high"])


def _interval(row: dict[str, Any], name: str, signed: bool = False) -> str:
    return percent_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], signed=signed)


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _typed(row: dict[str, str]) -> dict[str, Any]:
    return {**row, **{name: int(row[name]) for name in _COUNTS}, "dice": float(row["dice"])}
