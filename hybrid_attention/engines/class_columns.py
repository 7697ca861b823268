"""The class columns of a per-case table."""

from __future__ import annotations

from collections.abc import Sequence
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
