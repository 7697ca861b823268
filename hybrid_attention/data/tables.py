"""Tables that people edit: CSV files, the tables of published data sets, and groups of duplicates."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

from hybrid_attention.data.names import how_to_install, same_name, split_frame

CLASSES = ("benign", "malignant", "normal")


def read_table(path: str | os.PathLike[str], columns: Collection[str] = ()) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header, as cells by column; empty lines are skipped.

    The file is in UTF-8, UTF-16 (with a byte-order mark) or cp1252 (Windows), with commas, semicolons or tabs.

    Raises:
        ValueError: it is not such a file, lacks one of `columns` or has one twice, or a line has more or fewer cells
            than the header.
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
        rows = [(reader.line_num, cells) for cells in reader if any(cells)]
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None
    header = [name.strip() for name in rows[0][1]] if rows else []
    _check_header(path, header, columns)
    for line, cells in rows:
        if len(cells) != len(header):
            raise ValueError(f"{path}, line {line}: {len(cells)} cells, but the header has {len(header)}")
    return [dict(zip(header, cells, strict=True)) for _, cells in rows[1:]]


def _check_header(path: str | os.PathLike[str], header: Sequence[str], columns: Iterable[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(header) or 'none'}")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ValueError(f"{path} must have each column once, but has {', '.join(twice)} several times")


def published_rows(
    path: Path,
    key: str,
    columns: Mapping[str, str],
    stem: Callable[[str], str] = lambda name: name.removesuffix(".png"),
) -> dict[str, dict[str, str]]:
    """Read the table of a published data set, a CSV file or Excel sheet, as rows by the stem of their image.

    Args:
        path: the table.
        key: its column of image names.
        columns: its other required columns, each with the name to return it under. Values of the one named "class" must
            be benign, malignant or normal, in any case.
        stem: converts an image name of the table to the name of the file without its suffix.
    """
    table = _sheet(path) if path.suffix == ".xlsx" else read_table(path)
    if not table:
        raise ValueError(f"{path} has no rows")
    _check_header(path, [name.strip().lower() for name in table[0]], map(str.lower, (key, *columns)))
    rows: dict[str, dict[str, str]] = {}
    contradictory = []
    for cells in table:
        cells = {name.strip().lower(): cell.strip() for name, cell in cells.items()}
        if cells[key.lower()]:
            row = {own: cells[name.lower()] for name, own in columns.items()}
            if "class" in row:
                row["class"] = row["class"].lower()
            name = stem(cells[key.lower()])
            if rows.setdefault(name, row) != row:
                contradictory.append(name)
    if contradictory:
        raise ValueError(f"{path} has different rows for {', '.join(dict.fromkeys(contradictory))}")
    found = [f"{row['class']!r} ({name})" for name, row in rows.items() if row.get("class", CLASSES[0]) not in CLASSES]
    if found:
        raise ValueError(f"{path}: expected the classes {', '.join(CLASSES)}, found {', '.join(found)}")
    return rows


def _sheet(path: Path) -> list[dict[str, str]]:
    import pandas as pd

    try:
        table = pd.read_excel(path, dtype=str, keep_default_na=False).fillna("")  # cells with errors are NaN
        return table.rename(columns=str).to_dict("records")
    except ImportError:
        raise ImportError(f"reading {path} needs openpyxl: {how_to_install('excel')}") from None
    except (BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not an Excel sheet ({error})") from None


def read_groups(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a table of duplicate groups, with the columns `image_id` and `duplicate_group`, as group by image_id.

    An image without a group is a group of its own; all such frames of a file are one group. All images in two groups
    are listed in a ValueError.
    """
    groups: dict[str, str] = {}
    twice = []
    for row in read_table(path, ("image_id", "duplicate_group")):
        name = row["image_id"]
        group = row["duplicate_group"].strip() or split_frame(name)[0].as_posix()
        first = groups.setdefault(same_name(name), group)
        if first != group:
            twice.append(f"{name} ({first} and {group})")
    if twice:
        raise ValueError(f"{path} must have one duplicate_group per image, but has {', '.join(twice)}")
    return groups
