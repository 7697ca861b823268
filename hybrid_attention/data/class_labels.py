"""The class of each case as the index that a classifier learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hybrid_attention.data.checks import raise_if_invalid
from hybrid_attention.data.on_demand import on_demand


@on_demand
def with_class_index(cases: Sequence[dict[str, Any]], class_names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return copies of the cases that carry the index of their class.

    Args:
        cases: dicts with `case_id` and `class`, a name.
        class_names: the names in the order of the network's class logits; None for a network that doesn't classify,
            which leaves the cases as they are.

    Returns:
        The cases with `class_index`.

    Raises:
        ValueError: fewer than two names, or a name twice.
        DataError: cases without a class, or of a class that is not in `class_names`: all of them listed.
    """
    if class_names is None:
        return list(cases)
    names = list(class_names)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(f"class_names must be two or more different names, or None, got {class_names!r}")
    listed = ", ".join(names)
    problems = [
        (
            f"{case['case_id']}: class {case['class']!r} is none of {listed}"
            if case.get("class")
            else f"{case['case_id']}: no class"
        )
        for case in cases
        if case.get("class") not in names
    ]
    hint = (
        "give each image a class that class_names lists (by its folder in BUSI's layout, in UDIAT's by DatasetB.xlsx), "
        "or set class_names to None for masks alone"
    )
    raise_if_invalid(problems, len(cases), hint)
    return [{**case, "class_index": names.index(case["class"])} for case in cases]
