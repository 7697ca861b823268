"""Splits that users bring along: which case is in which part, or in which fold, from a CSV file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_attention.data.checks import raise_if_invalid
from hybrid_attention.data.tables import read_table

PARTS = ("train", "validation", "test", "excluded")

logger = logging.getLogger(__name__)


def parts_of_table(
    path: str | os.PathLike[str], cases: Sequence[Mapping[str, Any]], fold: int = 0
) -> tuple[list[str], str]:
    """Read the parts of cases from a table.

    Args:
        path: CSV file with the columns `case_id` and either `part` (train, validation, test or excluded) or `fold`
            (whole numbers, of which negative ones exclude), as `hybrid-attention splits` writes it. Rows of other cases
            are passed over.
        cases: with `case_id` and `group`.
        fold: of a table of folds the number, counted from 0, of the one to test on; the next one validates.

    Returns:
        Part of each case, and the rule in words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a table, has fewer than three folds, or not the one that is asked for.
        DataError: cases without a row or with different ones, unknown parts, groups that lie in several parts or folds:
            all of them listed.
    """
    try:
        rows = [row for _, row in read_table(path, ["case_id"])]
    except FileNotFoundError:
        raise FileNotFoundError(f"split {path} does not exist; `hybrid-attention splits` writes one") from None
    column = next((name for name in ("part", "fold") if rows and name in rows[0]), "")
    if not column:
        raise ValueError(f"split {path} must have the columns case_id and part or fold, and a row for each case")
    expected = ", ".join(PARTS) if column == "part" else "a whole number"
    given: dict[str, str] = {}
    problems: list[str] = []
    for row in rows:
        name, value = row["case_id"], row[column].strip()
        if given.setdefault(name, value) != value:
            problems.append(f"{name}: {column} {given[name]} in one row, {value} in another")
        if value not in PARTS if column == "part" else not value.removeprefix("-").isdecimal():
            problems.append(f"{name}: {column} {value!r}, expected {expected}")
    owners: dict[str, Mapping[str, Any]] = {}
    for case in cases:
        name = case["case_id"]
        if name not in given:
            problems.append(f"{name}: no row")
        elif given[name] != "excluded" and not given[name].startswith("-"):
            first = owners.setdefault(case["group"], case)["case_id"]
            if given[first] != given[name]:
                problems.append(
                    f"group {case['group']} leaks: {first} is in {column} {given[first]}, {name} in {given[name]}"
                )
    raise_if_invalid(
        [f"{path}: {problem}" for problem in problems],
        len(cases),
        "give each case one row, and all of a group (one patient, or copies of one image) the same part or fold",
    )
    others = len(set(given) - {case["case_id"] for case in cases})
    if others:
        logger.info("%s has rows for %d other cases", path, others)
    if column == "part":
        if fold != 0:
            raise ValueError(f"{path} has a column part, so that fold must be 0, got {fold}; folds need a column fold")
        return [given[case["case_id"]] for case in cases], f"the parts in {os.path.basename(path)}"
    numbers = sorted({int(value) for value in given.values() if int(value) >= 0})
    if len(numbers) < 3 or not 0 <= fold < len(numbers):
        raise ValueError(f"{path} must have at least 3 folds and fold {fold}, counted from 0; it has {numbers}")
    tested, validated = numbers[fold], numbers[(fold + 1) % len(numbers)]
    roles = dict.fromkeys(numbers, "train") | {tested: "test", validated: "validation"}
    parts = [roles.get(int(given[case["case_id"]]), "excluded") for case in cases]
    return parts, f"the folds in {os.path.basename(path)}, test fold {tested}, validation fold {validated}"
