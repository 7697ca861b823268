"""Scores of cases, picked for tests and figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hybrid_attention.evaluation.classification import classification_scores
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

    Those of the record are taken where they count the same cases in the same cells, since their intervals take long.

    Args:
        run: with the cases that are compared.

    Returns:
        What `classification_scores` gives.

    Raises:
        ValueError: a class of the truth has no probability, or probabilities don't add up to 1.
    """
    if not run.classes:
        return None
    truth = [row["class"] for row in run.rows]
    table = [[row[f"probability_{name}"] for name in run.classes] for row in run.rows]
    record = run.record.get("classification")
    if record and record.get("class_names") == run.classes and set(truth) <= set(run.classes):
        predicted = [run.classes[max(range(len(values)), key=values.__getitem__)] for values in table]
        counted = [[list(zip(truth, predicted, strict=True)).count((a, b)) for b in run.classes] for a in run.classes]
        if record.get("confusion") == counted:
            return dict(record)
    try:
        return classification_scores(truth, table, run.classes, [row["group"] for row in run.rows])
    except ValueError as error:
        raise ValueError(f"{run.name}: {error}") from None
