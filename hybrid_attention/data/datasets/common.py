"""What the readers of data sets share: their tables, the form of a case, and the check of all files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import pandas as pd
from hybrid_attention.data.checks import inspect_cases, raise_if_invalid
from hybrid_attention.data.dicom import split_frame
from hybrid_attention.data.files import how_to_install, read_table, same_name
from hybrid_attention.data.images import natural_order, strip_suffix
from hybrid_attention.data.listing import expand_frames
from hybrid_attention.data.masks import find_all_masks

CLASSES = ("benign", "malignant", "normal")

logger = logging.getLogger(__name__)


def published_rows(
    path: str | os.PathLike[str],
    key: str,
    columns: Mapping[str, str],
    stem: Callable[[str], str] = lambda name: name.removesuffix(".png"),
) -> dict[str, dict[str, str]]:
    """Read the table of a data set.

    Args:
        path: CSV file or Excel sheet with a header.
        key: its column of image names.
        columns: its other required columns, each with the name to return it under, in any case. Values of the one named
            "class" must be benign, malignant or normal.
        stem: converts an image name of the table to the name of the file without its suffix.

    Returns:
        The rows by stem, all values as text; empty cells are empty text.
    """
    path = Path(path)
    table = _sheet(path) if path.suffix == ".xlsx" else pd.DataFrame([row for _, row in read_table(path)])
    table.columns = [str(name).strip().lower() for name in table.columns]
    names = {key.lower(): "key", **{name.lower(): own for name, own in columns.items()}}
    missing = sorted(set(names) - set(table.columns))
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; it has {list(table.columns)}")
    table = table[list(names)].rename(columns=names).apply(lambda column: column.str.strip())
    table = table[table["key"] != ""]
    table["key"] = table["key"].map(stem)
    if "class" in table:
        table["class"] = table["class"].str.lower()
    table = table.drop_duplicates()
    twice = sorted(table["key"][table["key"].duplicated()])
    if twice:
        raise ValueError(f"{path} has different rows for {', '.join(twice)}")
    if "class" in table:
        unknown = table[~table["class"].isin(CLASSES)]
        if len(unknown):
            found = ", ".join(f"{row['class']!r} ({row['key']})" for _, row in unknown.iterrows())
            raise ValueError(f"{path}: expected the classes {', '.join(CLASSES)}, found {found}")
    return {row.pop("key"): row for row in table.to_dict("records")}


def _sheet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_excel(path, dtype=str, keep_default_na=False)
    except ImportError:
        raise ImportError(f"reading {path} needs openpyxl: {how_to_install('excel')}") from None
    except (BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not an Excel sheet ({error})") from None


def listed(
    table: Path, rows: Mapping[str, dict[str, str]], images: Sequence[Path], problems: list[str]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield images with their rows in a table; those without one become problems, and missing ones are logged."""
    absent = set(rows) - {image.stem for image in images}
    if absent:
        logger.warning("%s lists %d images, of which %d are missing", table, len(rows), len(absent))
    for image in images:
        if image.stem in rows:
            yield image, rows[image.stem]
        else:
            problems.append(f"{image}: {table.name} does not list it")


def new_case(
    dataset: str, root: Path, image: Path, masks: Sequence[Path], group: str, class_name: str = "", **more: Any
) -> dict[str, Any]:
    """Return a case as `busi_datalist` describes it; `more` are further keys, such as `birads` and `device`."""
    return {
        "case_id": image.relative_to(root).as_posix(),
        "image": str(image),
        "label": [str(mask) for mask in masks],
        "class": class_name,
        "group": group,
        "synthetic": False,
        "dataset": dataset,
        "birads": "",
        "device": "",
        **more,
    }


def cases_with_masks(
    dataset: str,
    root: Path,
    files: Iterable[Path],
    groups_csv: str | os.PathLike[str] | None = None,
    synthetic: bool = False,
) -> list[dict[str, Any]]:
    """List images with masks beside them, as `busi_datalist` describes it, and check all files.

    In the data set "busi", the first folder of an image is its class.

    Raises:
        DataError: images without a mask, with those of another or without a row in the table, and faulty files.
    """
    images, unreadable = expand_frames(sorted(files, key=lambda path: (path.parent, natural_order(path))))
    groups = None if groups_csv is None else read_groups(groups_csv)
    cases: list[dict[str, Any]] = []
    problems: list[str] = []
    owners: dict[Path, Path] = {}
    for image, masks in zip(images, find_all_masks(images), strict=True):
        name, stem = image.relative_to(root), strip_suffix(image.name)
        if not masks:
            problems.append(f"{image}: no mask beside it (expected {stem}_mask.png)")
        owner = owners.setdefault(image.with_name(same_name(stem)), image)
        if owner != image:
            problems.append(f"{image}: its masks would be those of {owner.name}; rename or remove one")
        key = same_name(name.as_posix())
        if groups is not None and key not in groups:
            problems.append(f"{groups_csv}: no row for {name.as_posix()}")
        group = (groups or {}).get(key, split_frame(image)[0].relative_to(root).as_posix())
        group, class_name = (group, name.parts[0]) if dataset == "busi" else (f"{dataset}/{group}", "")
        cases.append(new_case(dataset, root, image, masks, group, class_name, synthetic=synthetic))
    found, cases = inspect_cases(cases)
    raise_if_invalid([*unreadable, *problems, *found], len(cases) + len(unreadable))
    return cases


def read_groups(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a table of duplicate groups.

    Args:
        path: CSV file with the columns `image_id` and `duplicate_group` (if empty, each file is a group, with all its
            frames).

    Returns:
        Group by image_id.

    Raises:
        ValueError: it is not such a table (see `read_table`), or images are in two groups; all are listed.
    """
    groups: dict[str, str] = {}
    twice = []
    for _, row in read_table(path, ("image_id", "duplicate_group")):
        name = row["image_id"]
        group = row["duplicate_group"].strip() or split_frame(name)[0].as_posix()
        first = groups.setdefault(same_name(name), group)
        if first != group:
            twice.append(f"{name} ({first} and {group})")
    if twice:
        raise ValueError(f"{path} must have one duplicate_group per image, but has {', '.join(twice)}")
    return groups


def checked(cases: list[dict[str, Any]], problems: Sequence[str], root: Path) -> list[dict[str, Any]]:
    """Check all files of the cases and raise a `DataError` that lists their and the earlier problems, if any."""
    nothing = [] if cases or problems else [f"{root}: no image in it"]
    more, cases = inspect_cases(cases)
    raise_if_invalid([*problems, *nothing, *more], len(cases), "complete the folder from the published archive")
    return cases
