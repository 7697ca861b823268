"""CSV files of an evaluation as texts, each row with its line in the file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path


def read_table(path: Path, needed: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Read a CSV file with a header.

    Args:
        path: of the file.
        needed: columns that it must have.

    Returns:
        For each row its place ("FILE, line 2") and its cells by column.

    Raises:
        ValueError: the file is no CSV file in UTF-8, lacks a column, or a line has more or fewer cells than the header.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval=None)
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file in UTF-8: {error}") from None
    missing = [name for name in needed if name not in (reader.fieldnames or [])]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
    for place, row in rows:
        if "" in row or None in row.values():
            raise ValueError(f"{place}: not as many cells as the header has columns")
    return rows
