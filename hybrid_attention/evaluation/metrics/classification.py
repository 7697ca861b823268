"""Scores of predicted image classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from hybrid_attention.evaluation.statistics import bootstrap_statistic
from hybrid_attention.prediction.result import PROBABILITY_PREFIX
from scipy.stats import rankdata

CLASS_MEASURES = ("precision", "sensitivity", "specificity", "f1", "auc")  # of each class


def classification_scores(
    truth: Sequence[str],
    probabilities: Sequence[Sequence[float]] | np.ndarray,
    class_names: Sequence[str],
    groups: Sequence[Hashable] | None = None,
) -> dict[str, Any]:
    """Score the most probable classes and the probabilities themselves, one-vs-rest, with intervals.

    Undefined scores are NaN: the area under the ROC curve of a class that no or every case has (and the macro mean),
    the precision of a class that is never predicted, and the balanced accuracy (the mean sensitivity of the classes) if
    a class has no case.

    Args:
        truth: name of the true class, one per case.
        probabilities: class probabilities, (cases, classes), rows add up to 1.
        class_names: names of the columns.
        groups: one per case; the bootstrap draws near-duplicates together. None: each case is a group.

    Returns:
        The result of `class_points`, but with `value`, `low` and `high` (95 % interval) for `accuracy`,
        `balanced_accuracy`, `macro_auc` and `macro_f1`.
    """
    points = class_points(truth, probabilities, class_names)
    true, table = _arrays(truth, probabilities, points["class_names"])
    units = list(range(len(truth))) if groups is None else list(groups)

    def interval(statistic: Callable[[np.ndarray, np.ndarray], float]) -> dict[str, float]:
        return bootstrap_statistic(lambda cases: statistic(true[cases], table[cases]), units)._asdict()

    return {**points, **{name: interval(statistic) for name, statistic in _STATISTICS.items()}}


def class_points(
    truth: Sequence[str], probabilities: Sequence[Sequence[float]] | np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Score predicted classes like `classification_scores`, without intervals.

    Returns:
        `cases`, `class_names`, `accuracy`, `balanced_accuracy`, `macro_auc`, `macro_f1`, `classes` (by name: `cases`
        and `CLASS_MEASURES`) and `confusion` (rows: true classes, columns: predicted classes).
    """
    names = list(class_names)
    true, table = _arrays(truth, probabilities, names)
    matrix = _confusion(true, table)
    tp, cases, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    measures = {
        "precision": _ratio(tp, predicted),
        "sensitivity": _ratio(tp, cases),
        "specificity": _ratio(len(truth) - cases - predicted + tp, len(truth) - cases),
        "f1": _ratio(2 * tp, cases + predicted),
        "auc": _aucs(true, table),
    }
    per_class = {
        name: {"cases": int(cases[index]), **{key: float(values[index]) for key, values in measures.items()}}
        for index, name in enumerate(names)
    }
    return {
        "cases": len(truth),
        "class_names": names,
        **{name: statistic(true, table) for name, statistic in _STATISTICS.items()},
        "classes": per_class,
        "confusion": matrix.tolist(),
    }


def class_summary(cases: pd.DataFrame) -> dict[str, Any] | None:
    """Return `classification_scores` of a table with `class`, `group` and `probability_<class>`; None without these."""
    names = predicted_classes(cases)
    if not names:
        return None
    return classification_scores(cases["class"].tolist(), class_probabilities(cases), names, cases["group"].tolist())


def predicted_classes(cases: pd.DataFrame) -> list[str]:
    """Return the classes that a table of cases has probabilities of."""
    return [name.removeprefix(PROBABILITY_PREFIX) for name in cases if name.startswith(PROBABILITY_PREFIX)]


def class_probabilities(cases: pd.DataFrame) -> np.ndarray:
    """Return the class probabilities of a table of cases, (cases, classes)."""
    return cases[[PROBABILITY_PREFIX + name for name in predicted_classes(cases)]].to_numpy(float)


def rank_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve from ranks (Mann–Whitney U); NaN for a single class.

    scikit-learn is too slow for thousands of bootstrap samples.
    """
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return math.nan
    return float((rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * others))


def _arrays(
    truth: Sequence[str], probabilities: Sequence[Sequence[float]] | np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Check the arguments, and return the index of each case's true class, and the probabilities."""
    table = np.asarray(probabilities, dtype=float)
    if len(truth) == 0 or table.shape != (len(truth), len(names)):
        raise ValueError(f"expected probabilities of {len(truth)} cases and {len(names)} classes, got {table.shape}")
    unknown = sorted(set(truth) - set(names))
    if unknown:
        raise ValueError(f"unknown class {unknown[0]!r}; the classes are {', '.join(names)}")
    if not np.isfinite(table).all() or (table < 0).any() or not np.allclose(table.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities must be finite and not negative, and add up to 1 in each row")
    return np.array([list(names).index(name) for name in truth]), table


def _confusion(true: np.ndarray, table: np.ndarray) -> np.ndarray:
    classes = table.shape[1]
    return np.bincount(true * classes + table.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


def _balanced_accuracy(true: np.ndarray, table: np.ndarray) -> float:
    matrix = _confusion(true, table)
    return float(_ratio(np.diag(matrix), matrix.sum(axis=1)).mean())


def _macro_f1(true: np.ndarray, table: np.ndarray) -> float:
    matrix = _confusion(true, table)
    return float(_ratio(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)).mean())


def _aucs(true: np.ndarray, table: np.ndarray) -> np.ndarray:
    return np.array([rank_auc(table[:, index], true == index) for index in range(table.shape[1])])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), math.nan), where=whole > 0)


_STATISTICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda true, table: float((true == table.argmax(axis=1)).mean()),
    "balanced_accuracy": _balanced_accuracy,
    "macro_auc": lambda true, table: float(_aucs(true, table).mean()),
    "macro_f1": _macro_f1,
}
