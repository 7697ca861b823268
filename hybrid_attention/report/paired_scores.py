"""Scores of cases, picked for tests and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hybrid_attention.engines.class_columns import class_probabilities
from hybrid_attention.evaluation.classification import CLASS_SCORES, class_points, class_summary
from hybrid_attention.evaluation.record import is_defined
from hybrid_attention.evaluation.summary import has_lesion
from hybrid_attention.report.matching import Comparison
from hybrid_attention.report.runs import Row, Run

ClassScores = dict[str, Any]


@dataclass(frozen=True)
class PairedScores:
    """One score of the same cases in several runs.

    Args:
        scores: by run, a number a case.
        groups: one a case.
        undefined: cases with a lesion that were left out because a run has no such score there.
        without_lesion: cases that were left out because they hold no lesion in a run's truth.
    """

    scores: dict[str, list[float]]
    groups: list[str]
    undefined: int
    without_lesion: int


def defined_cases(run: Run, score: str) -> list[Row]:
    """Return the cases with a lesion whose score is defined."""
    return [row for row in run.rows if has_lesion(row) and not math.isnan(row[score])]


def paired_scores(comparison: Comparison) -> PairedScores:
    """Collect the score of the comparison for the cases with a lesion in which every run has it.

    Args:
        comparison: the runs.

    Returns:
        The scores; lists are empty where no case qualifies.
    """
    lines = list(zip(*(run.rows for run in comparison.runs), strict=True))
    lesions = [line for line in lines if all(has_lesion(row) for row in line)]
    score = comparison.score
    kept = [line for line in lesions if not any(math.isnan(row[score]) for row in line)]
    return PairedScores(
        {run.name: [line[index][score] for line in kept] for index, run in enumerate(comparison.runs)},
        [line[0]["group"] for line in kept],
        len(lesions) - len(kept),
        len(lines) - len(lesions),
    )


def class_scores(run: Run) -> ClassScores | None:
    """Return the scores of the classes that a run predicts, None where its network has no class head.

    All are computed from the cases but the bounds of intervals, which take long: those of the record are taken where
    its scores are the same.

    Args:
        run: with the cases that are compared.

    Returns:
        What `classification_scores` gives.

    Raises:
        ValueError: a class of the truth has no probability, or probabilities don't add up to 1.
    """
    if not run.classes:
        return None
    try:
        points = class_points([row["class"] for row in run.rows], class_probabilities(run.rows), run.classes)
    except ValueError as error:
        raise ValueError(f"{run.name}: {error}") from None
    record = run.record.get("classification") or {}
    alike = record.get("confusion") == points["confusion"] and record.get("class_names") == run.classes
    if alike and all(_same(record.get(name), points[name]) for name in CLASS_SCORES):
        return {**points, **{name: record[name] for name in CLASS_SCORES}}
    return class_summary(run.rows)


def _same(recorded: Mapping[str, float] | None, value: float) -> bool:
    """Tell whether a recorded score with its interval is of this value; undefined (NaN, null) equals undefined."""
    if recorded is None or is_defined(recorded["value"]) != is_defined(value):
        return False
    return not is_defined(value) or math.isclose(recorded["value"], value, abs_tol=1e-9)


def correct_classes(comparison: Comparison) -> dict[str, list[float]]:
    """Tell of each run that predicts classes in which cases it is right.

    Args:
        comparison: the runs.

    Returns:
        By run 1 or 0 a case.
    """
    correct = {}
    for run in comparison.runs:
        if run.classes:
            best = [run.classes[index] for index in np.argmax(class_probabilities(run.rows), axis=1)]
            correct[run.name] = [float(row["class"] == name) for row, name in zip(run.rows, best, strict=True)]
    return correct
