"""Scores of the class that a network predicts of each image."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from hybrid_attention.engines.predictions import PROBABILITY_PREFIX
from hybrid_attention.evaluation.statistics import bootstrap_statistic
from scipy.stats import rankdata

CLASS_MEASURES = ("precision", "sensitivity", "specificity", "f1", "auc")  # of each class
CLASS_SCORES = ("accuracy", "balanced_accuracy", "macro_auc", "macro_f1")


def classification_scores(
    truth: Sequence[str],
    probabilities: Sequence[Sequence[float]] | np.ndarray,
    class_names: Sequence[str],
    groups: Sequence[Hashable] | None = None,
) -> dict[str, Any]:
    """Score predicted classes: the most probable one, and the probabilities themselves.

    Each class is scored against all others. The area under the ROC curve of a class that no case or every case has is
    undefined (NaN), and so is then the macro mean; the same goes for the precision of a class that is never predicted.
    Balanced accuracy is the mean sensitivity of the classes, undefined where one has no case.

    Args:
        truth: name of the true class, one per case.
        probabilities: (cases, classes), rows add up to 1.
        class_names: names of the columns.
        groups: one per case; near-duplicates are drawn together for the intervals. None: each case alone.

    Returns:
        What `class_points` gives, but each of `CLASS_SCORES` with `value` and `low` and `high` of the 95 % interval.

    Raises:
        ValueError: no case, an unknown class, shapes that don't fit, or rows that are no probabilities.
    """
    points = class_points(truth, probabilities, class_names)
    true, table = _arrays(truth, probabilities, points["class_names"])
    units = list(range(len(truth))) if groups is None else list(groups)
    return {**points, **{name: _interval(statistic, true, table, units) for name, statistic in _STATISTICS.items()}}


def predicted_classes(cases: pd.DataFrame) -> list[str]:
    """Return the classes that a table of cases holds probabilities of, none for a network without class head."""
    return [name.removeprefix(PROBABILITY_PREFIX) for name in cases if name.startswith(PROBABILITY_PREFIX)]


def class_probabilities(cases: pd.DataFrame) -> np.ndarray:
    """Return the probabilities of the classes, (cases, classes)."""
    return cases[[PROBABILITY_PREFIX + name for name in predicted_classes(cases)]].to_numpy(float)


def class_summary(cases: pd.DataFrame) -> dict[str, Any] | None:
    """Score the classes that a table holds probabilities of.

    Args:
        cases: with `class`, `group` and `probability_<class>`.

    Returns:
        What `classification_scores` gives; None where there are no probabilities.

    Raises:
        ValueError: a class of the truth has no probability, or probabilities don't add up to 1.
    """
    names = predicted_classes(cases)
    if not names:
        return None
    return classification_scores(cases["class"].tolist(), class_probabilities(cases), names, cases["group"].tolist())


def class_points(
    truth: Sequence[str], probabilities: Sequence[Sequence[float]] | np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Score predicted classes as `classification_scores` does, without intervals.

    Args:
        truth: name of the true class, one per case.
        probabilities: (cases, classes), rows add up to 1.
        class_names: names of the columns.

    Returns:
        `cases`; `class_names`; each of `CLASS_SCORES`; `classes`: by name `cases`, `precision`, `sensitivity`,
        `specificity`, `f1`, `auc`; `confusion`: rows are true classes, columns predicted ones.

    Raises:
        ValueError: no case, an unknown class, shapes that don't fit, or rows that are no probabilities.
    """
    names = list(class_names)
    true, table = _arrays(truth, probabilities, names)
    per_class = _class_scores(true, table)
    return {
        "cases": len(truth),
        "class_names": names,
        **{name: statistic(true, table) for name, statistic in _STATISTICS.items()},
        "classes": dict(zip(names, per_class, strict=True)),
        "confusion": _confusion(true, table).tolist(),
    }


def _arrays(
    truth: Sequence[str], probabilities: Sequence[Sequence[float]] | np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Check the arguments and return the index of each case's true class, and the probabilities."""
    table = np.asarray(probabilities, dtype=float)
    if len(truth) == 0 or table.shape != (len(truth), len(names)):
        raise ValueError(
            f"{len(truth)} cases and {len(names)} classes need as many rows and columns, got {table.shape}"
        )
    unknown = sorted(set(truth) - set(names))
    if unknown:
        raise ValueError(f"unknown class {unknown[0]!r}; the classes are {', '.join(names)}")
    if not np.isfinite(table).all() or (table < 0).any() or not np.allclose(table.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities must be finite, not negative, and add up to 1 in each row")
    return np.array([list(names).index(name) for name in truth]), table


def _interval(
    statistic: Callable[[np.ndarray, np.ndarray], float], true: np.ndarray, table: np.ndarray, units: Sequence[Hashable]
) -> dict[str, float]:
    value, low, high = bootstrap_statistic(lambda cases: statistic(true[cases], table[cases]), units)
    return {"value": value, "low": low, "high": high}


def _class_scores(true: np.ndarray, table: np.ndarray) -> list[dict[str, float]]:
    matrix = _confusion(true, table).astype(float)
    aucs = _aucs(true, table)
    scores = []
    for index in range(len(matrix)):
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


def _confusion(true: np.ndarray, table: np.ndarray) -> np.ndarray:
    classes = table.shape[1]
    return np.bincount(true * classes + table.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


def _accuracy(true: np.ndarray, table: np.ndarray) -> float:
    return float((true == table.argmax(axis=1)).mean())


def _balanced_accuracy(true: np.ndarray, table: np.ndarray) -> float:
    matrix = _confusion(true, table).astype(float)
    return float(np.mean([_ratio(hit, cases) for hit, cases in zip(np.diag(matrix), matrix.sum(axis=1), strict=True)]))


def _macro_auc(true: np.ndarray, table: np.ndarray) -> float:
    return float(np.mean(_aucs(true, table)))


def _aucs(true: np.ndarray, table: np.ndarray) -> list[float]:
    ranks = rankdata(table, axis=0)
    return [_auc(true == index, ranks[:, index]) for index in range(table.shape[1])]


def _auc(own: np.ndarray, ranks: np.ndarray) -> float:
    """Return the area from ranks (Mann and Whitney's U): the bootstrap needs thousands, too many for scikit-learn."""
    count, others = int(own.sum()), int((~own).sum())
    if not count or not others:
        return math.nan
    return float((ranks[own].sum() - count * (count + 1) / 2) / (count * others))


def _macro_f1(true: np.ndarray, table: np.ndarray) -> float:
    matrix = _confusion(true, table).astype(float)
    hits, sums = np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    return float(np.mean([_ratio(2 * hit, both) for hit, both in zip(hits, sums, strict=True)]))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan


_STATISTICS = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_auc": _macro_auc,
    "macro_f1": _macro_f1,
}
