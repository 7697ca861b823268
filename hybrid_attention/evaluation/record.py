"""`summary.json` of an evaluation, read and checked."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hybrid_attention.evaluation.classification import CLASS_SCORES

_SHARES = (("pixel_roc", "auc"), ("pixel_roc", "error_bound"), ("calibration", "ece"))
_TEXTS = ("split", "part", "distance_unit")
_MAPPINGS = ("settings", "pixel_roc", "calibration", "classification", "training", "provenance", "folds")


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of an evaluation.

    Args:
        path: of `summary.json`.

    Returns:
        The record; what is absent or null may be so.

    Raises:
        ValueError: there is no such file, it is no JSON, doesn't say whether the data are synthetic, or something that
            reports print is of the wrong type.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no {path.name} in {path.parent}, which says how the run came about") from None
    except ValueError as error:
        raise ValueError(f"{path} can't be read: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("synthetic_data"), bool):
        raise ValueError(f"{path} doesn't say whether the data are synthetic (synthetic_data: true or false)")
    for keys, kind, meant in ((_TEXTS, str, "a text"), (_MAPPINGS, dict, "a JSON object")):
        for key in keys:
            if not isinstance(record.get(key), kind | None):
                raise ValueError(f"{path}: {key} is {record[key]!r}, must be {meant} or null")
    for outer, inner in _SHARES:
        _check_share((record.get(outer) or {}).get(inner), f"{path}: {outer}.{inner}")
    _check_classes(record.get("classification") or {}, f"{path}: classification")
    _check_folds(record.get("folds"), f"{path}: folds")
    return record


def is_defined(value: Any) -> bool:
    """Tell whether a recorded number is defined: undefined ones are null, NaN in older records."""
    return value is not None and not math.isnan(value)


def _check_share(value: Any, place: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not _is_share(value)):
        raise ValueError(f"{place} is {value!r}, must be a number from 0 to 1, or null where undefined")


def _is_share(value: float) -> bool:
    return math.isnan(value) or 0 <= value <= 1


def _check_folds(folds: dict[str, Any] | None, place: str) -> None:
    if folds is None:
        return
    merged, count, runs = (folds.get(key) for key in ("merged", "of", "runs"))
    if not isinstance(count, int) or not isinstance(merged, list) or not all(isinstance(fold, int) for fold in merged):
        raise ValueError(f"{place} must hold the numbers merged and of, got merged {merged!r} and of {count!r}")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise ValueError(f"{place}.runs is {runs!r}, must be a list of JSON objects")


def _check_classes(scores: dict[str, Any], place: str) -> None:
    for name in CLASS_SCORES if scores else ():
        if name not in scores and name == "balanced_accuracy":  # older records lack it
            continue
        score = scores.get(name)
        if not isinstance(score, dict) or not {"value", "low", "high"} <= score.keys():
            raise ValueError(f"{place}.{name} is {score!r}, must be a JSON object with value, low and high")
        for key, value in score.items():
            _check_share(value, f"{place}.{name}.{key}")
