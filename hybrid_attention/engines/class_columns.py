"""The columns of a per-case table that a class head fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PROBABILITY_PREFIX = "probability_"


def class_columns(names: Sequence[str], probabilities: Any) -> dict[str, Any]:
    """Return the columns of a case.

    Args:
        names: of the classes.
        probabilities: (classes,), in their order.

    Returns:
        `predicted_class`, the most probable one, and `probability_<class>` with six digits.

    Raises:
        ValueError: probabilities and names differ in number.
    """
    values = [round(float(value), 6) for value in probabilities]
    if len(values) != len(names):
        raise ValueError(f"the network gives {len(values)} class probabilities for the classes {', '.join(names)}")
    best = max(range(len(values)), key=values.__getitem__)
    columns = {PROBABILITY_PREFIX + name: value for name, value in zip(names, values, strict=True)}
    return {"predicted_class": names[best], **columns}


def predicted_classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the classes that rows hold a probability of, none for a network without class head."""
    return [name.removeprefix(PROBABILITY_PREFIX) for name in rows[0] if name.startswith(PROBABILITY_PREFIX)]


def class_probabilities(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return the probabilities of the classes, (cases, classes)."""
    return [[row[PROBABILITY_PREFIX + name] for name in predicted_classes(rows)] for row in rows]
