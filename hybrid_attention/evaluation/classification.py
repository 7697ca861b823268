"""Scores of a class a case."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from hybrid_attention.evaluation.statistics import bootstrap_statistic


def classification_scores(
    truth: Sequence[str],
    probabilities: Sequence[Sequence[float]] | np.ndarray,
    class_names: Sequence[str],
    groups: Sequence[Hashable] | None = None,
) -> dict[str, Any]:
    """Score predicted classes: the most probable one, and the probabilities themselves.

    Each class is scored against all others. The area under the ROC curve of a class that no case or every case has is
    undefined (NaN), and so is then the macro mean; the same goes for the precision of a class that is never predicted.

    Args:
        truth: name of the true class, one a case.
        probabilities: (cases, classes), rows add up to 1.
        class_names: names of the columns.
        groups: one a case; near copies are drawn together for the intervals. None: each case alone.

    Returns:
        `cases`; `accuracy`, `macro_auc` and `macro_f1`, each with `value` and `low` and `high` of the 95 % interval;
        `classes`: by name `cases`, `precision`, `sensitivity`, `specificity`, `f1`, `auc`; `class_names`;
        `confusion`: rows are true classes, columns predicted ones.

    Raises:
        ValueError: no case, an unknown class, shapes that don't fit, or rows that are no probabilities.
    """
    names, table = list(class_names), np.asarray(probabilities, dtype=float)
    if len(truth) == 0 or table.shape != (len(truth), len(names)):
        raise ValueError(
            f"{len(truth)} cases and {len(names)} classes need as many rows and columns, got {table.shape}"
        )
    unknown = sorted(set(truth) - set(names))
    if unknown:
        raise ValueError(f"unknown class {unknown[0]!r}; the classes are {', '.join(names)}")
    if not np.isfinite(table).all() or (table < 0).any() or not np.allclose(table.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities must be finite, not negative, and add up to 1 in each row")
    true, predicted = np.array([names.index(name) for name in truth]), table.argmax(axis=1)
    units = list(range(len(truth))) if groups is None else list(groups)

    def interval(statistic: Callable[[np.ndarray], float]) -> dict[str, float]:
        value, low, high = bootstrap_statistic(statistic, units)
        return {"value": value, "low": low, "high": high}

    per_class = _class_scores(true, predicted, table, len(names))
    return {
        "cases": len(truth),
        "class_names": names,
        "accuracy": interval(lambda cases: float((true[cases] == predicted[cases]).mean())),
        "macro_auc": interval(lambda cases: float(np.mean(_aucs(true[cases], table[cases])))),
        "macro_f1": interval(lambda cases: _macro_f1(true[cases], predicted[cases], len(names))),
        "classes": dict(zip(names, per_class, strict=True)),
        "confusion": _confusion(true, predicted, len(names)).tolist(),
    }


def _class_scores(true: np.ndarray, predicted: np.ndarray, table: np.ndarray, classes: int) -> list[dict[str, float]]:
    matrix = _confusion(true, predicted, classes).astype(float)
    aucs = _aucs(true, table)
    scores = []
    for index in range(classes):
        tp = matrix[index, index]
        fn, fp = matrix[index].sum() - tp, matrix[:, index].sum() - tp
        tn = matrix.sum() - tp - fn - fp
        scores.append(
            {
                "cases": int(tp + fn),
                "precision": _ratio(tp, tp + fp),
                "sensitivity": _ratio(tp, tp + fn),
                "specificity": _ratio(tn, tn + fp),
                "f1": _ratio(2 * tp, 2 * tp + fp + fn),
                "auc": aucs[index],
            }
        )
    return scores


def _confusion(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _aucs(true: np.ndarray, table: np.ndarray) -> list[float]:
    return [_auc(true == index, table[:, index]) for index in range(table.shape[1])]


def _auc(own: np.ndarray, scores: np.ndarray) -> float:
    """Return the area from ranks (Mann and Whitney's U): the bootstrap needs thousands, too many for scikit-learn."""
    count, others = int(own.sum()), int((~own).sum())
    if not count or not others:
        return math.nan
    return float((rankdata(scores)[own].sum() - count * (count + 1) / 2) / (count * others))


def _macro_f1(true: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    matrix = _confusion(true, predicted, classes).astype(float)
    hits, sums = np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    return float(np.mean([_ratio(2 * hit, both) for hit, both in zip(hits, sums, strict=True)]))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan
