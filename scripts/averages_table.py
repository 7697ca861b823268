"""The table of flip averages and ensembles over the folds of a cross-validation, for `results_table.py`."""

from __future__ import annotations

import csv
import json
import math
import statistics
from pathlib import Path
from typing import Any

from hybrid_attention.evaluation.statistics import bootstrap_ratio
from hybrid_attention.evaluation.text import markdown_grid, percent, percent_interval


def averages_table(experiment: Path) -> str:
    """Lay out what averages bring on the test images of all folds, each at the threshold that its validation chose.

    Args:
        experiment: a folder with `reliability/fold_F`, of `hybrid-attention reliability` on the same networks for each
            fold.

    Returns:
        Markdown.

    Raises:
        ValueError: there is no fold, they differ in their variants, or a case is in two of them.
    """
    folds = [_read_fold(folder) for folder in sorted((experiment / "reliability").glob("fold_*"))]
    if not folds:
        raise ValueError(f"no reliability/fold_F in {experiment}")
    names = list(folds[0])
    if any(list(fold) != names for fold in folds):
        raise ValueError(f"the folds of {experiment}/reliability differ in their variants")
    first: dict[str, float] = {}
    rows = []
    for name in names:
        parts = [fold[name] for fold in folds]
        dice = {case: score for part in parts for case, score in part["dice"].items()}
        groups = [group for part in parts for group in part["groups"]]
        if len(dice) < len(groups):
            raise ValueError(f"{experiment}/reliability has a case in two folds")
        first = first or dice
        whole = bootstrap_ratio(list(dice.values()), [1] * len(dice), groups)
        change = bootstrap_ratio([dice[case] - first[case] for case in dice], [1] * len(dice), groups)
        thresholds = [part["threshold"] for part in parts]
        rows.append(
            (
                name,
                f"{statistics.mean(part['seconds_per_image'] for part in parts):.2f}",
                percent(statistics.mean(part["validation_dice"] for part in parts)),
                percent_interval(*whole),
                "" if name == names[0] else percent_interval(*change, signed=True),
                f"{min(thresholds):.2f} to {max(thresholds):.2f}",
            )
        )
    header = ("passes", "s/image", "Dice, validation", "Dice, test", f"minus {names[0]}", "thresholds")
    caption = (
        f"{len(folds)} test folds, {len(first)} images, each by networks that have not seen its fold; 95 % intervals "
        "by bootstrap over duplicate groups. Validation: mean of the folds at 0.5; test: at the threshold that "
        "validation chose."
    )
    return f"{caption}\n\n{markdown_grid(header, rows)}"


def _read_fold(folder: Path) -> dict[str, dict[str, Any]]:
    """Return by variant what the summary says of it, and Dice and groups of the cases with a lesion."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    variants = {one["variant"]: {**one, "dice": {}, "groups": []} for one in summary["variants"]}
    with open(folder / "cases.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            score = float(row["dice"])
            if not math.isnan(score):
                variants[row["variant"]]["dice"][row["case_id"]] = score
                variants[row["variant"]]["groups"].append(row["group"])
    return variants
