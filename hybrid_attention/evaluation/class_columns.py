"""The columns of a per-case table that a class head fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_attention.engines.predictions import PROBABILITY_PREFIX
from hybrid_attention.evaluation.classification import classification_scores


def predicted_classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the classes that rows hold a probability of, none for a network without class head."""
    return [name.removeprefix(PROBABILITY_PREFIX) for name in rows[0] if name.startswith(PROBABILITY_PREFIX)]


def class_summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Score the classes that rows hold probabilities of, None where they hold none.

    Args:
        rows: with `class`, `group` and `probability_<class>`.

    Returns:
        What `classification_scores` gives.

    Raises:
        ValueError: a class of the truth has no probability, or probabilities don't add up to 1.
    """
    names = predicted_classes(rows)
    if not names:
        return None
    return classification_scores(
        [row["class"] for row in rows], class_probabilities(rows), names, [row["group"] for row in rows]
    )


def class_probabilities(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return the probabilities of the classes, (cases, classes)."""
    return [[row[PROBABILITY_PREFIX + name] for name in predicted_classes(rows)] for row in rows]
