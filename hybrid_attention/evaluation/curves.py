"""The curves of an evaluation: points of the pixel ROC and bins of the reliability curve."""

from __future__ import annotations

import math
from pathlib import Path

from hybrid_attention.data.tables import read_table

Curve = list[dict[str, float]]

_SHARES = {
    "roc": ("false_positive_rate", "true_positive_rate"),
    "calibration": ("low", "high", "mean_probability", "lesion_fraction"),
}
_RISING = {"roc": _SHARES["roc"], "calibration": ("low", "high")}
_COUNTS = {"roc": (), "calibration": ("pixels",)}


def read_curve(folder: Path, name: str) -> Curve | None:
    """Read `roc.csv` or `calibration.csv` and check it.

    Args:
        folder: of the evaluation.
        name: "roc" or "calibration".

    Returns:
        A row a point or bin, None where there is no file.

    Raises:
        ValueError: the file is damaged, holds no row, a rate or share is no number from 0 to 1, or a rate falls.
    """
    path = folder / f"{name}.csv"
    if not path.is_file():
        return None
    curve: Curve = []
    for place, text in read_table(path, (*_SHARES[name], *_COUNTS[name])):
        point = {key: _number(text[key], key, place, 1.0) for key in _SHARES[name]}
        point |= {key: _number(text[key], key, place, math.inf) for key in _COUNTS[name]}
        for key in _RISING[name]:
            if curve and point[key] < curve[-1][key]:
                raise ValueError(f"{place}: {key} falls from {curve[-1][key]} to {point[key]}; it may only rise")
        curve.append(point)
    if not curve:
        raise ValueError(f"{path} holds no row")
    return curve


def _number(cell: str, name: str, place: str, highest: float) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= highest or value == math.inf:
        meant = "a number from 0 to 1" if highest == 1 else "a number that is 0 or more"
        raise ValueError(f"{place}: {name} is {cell!r}, must be {meant}")
    return value
