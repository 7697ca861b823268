"""Tables that people edit, often in Excel: CSV files of any usual encoding and separator."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Collection
from pathlib import Path


def read_table(path: str | os.PathLike[str], columns: Collection[str] = ()) -> list[tuple[str, dict[str, str]]]:
    """Read a CSV file with a header.

    Args:
        path: file in UTF-8, UTF-16 (with a byte-order mark) or cp1252 (Windows), with cells separated by commas,
            semicolons or tabs. Empty lines are skipped.
        columns: required columns; others are allowed.

    Returns:
        For each row its position ("FILE, line 2") and its cells by column.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a CSV file, lacks a column, or a line has more or fewer cells than the header.
    """
    content = Path(path).read_bytes()
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    if "\0" in text or "\ufffd" in text:
        raise ValueError(f"{path} is not a CSV file; save it as one, in UTF-8")
    first = text.splitlines()[:1]
    separator = max(",;\t", key=lambda sign: len(next(csv.reader(first, delimiter=sign), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [(f"{path}, line {reader.line_num}", cells) for cells in reader if any(cells)]
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None
    header = [name.strip() for name in rows[0][1]] if rows else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(header) or 'none'}")
    for place, cells in rows:
        if len(cells) != len(header):
            raise ValueError(f"{place}: {len(cells)} cells, but the header has {len(header)}")
    return [(place, dict(zip(header, cells, strict=True))) for place, cells in rows[1:]]


def read_index(path: str | os.PathLike[str], key: str, columns: Collection[str]) -> dict[str, dict[str, str]]:
    """Read a CSV file with information on each image, patient or the like.

    Args:
        path: see `read_table`.
        key: column of the names.
        columns: required columns, whose value must be the same in all rows of a name.

    Returns:
        Cells by column, by name.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not such a table (see `read_table`), or rows of a name contradict each other; all are listed.
    """
    rows: dict[str, dict[str, str]] = {}
    twice = []
    for _, row in read_table(path, (key, *columns)):
        first = rows.setdefault(row[key], row)
        differ = [column for column in columns if first[column].strip() != row[column].strip()]
        twice += [f"{row[key]} ({column} {first[column].strip()} and {row[column].strip()})" for column in differ]
    if twice:
        raise ValueError(f"{path} must have one value per {key}, but has {', '.join(twice)}")
    return rows
