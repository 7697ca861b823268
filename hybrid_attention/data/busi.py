"""The BUSI data set and any folder in its layout: `benign/`, `malignant/`, `normal/` with `<name>_mask*.png` files."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybrid_attention.data.checks import DataError, inspect_cases, raise_problems
from hybrid_attention.data.masks import find_masks, mask_owner
from hybrid_attention.data.phantom_dataset import is_synthetic
from hybrid_attention.data.reading import IMAGE_SUFFIXES, natural_order

CLASSES = ("benign", "malignant", "normal")
PUBLISHED_FOLDER = "Dataset_BUSI_with_GT"  # the folder inside the published archive

logger = logging.getLogger(__name__)


def busi_datalist(
    root: str | os.PathLike[str], groups_csv: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """List the cases of BUSI, or of a folder in its layout, one dict a case; every file is read once and checked.

    The layout is that of the published archive: a folder for each class, images named as one likes, the masks of
    `NAME.png` beside it as `NAME_mask.png`, `NAME_mask_1.png` and so on.

    Reference:
        W. Al-Dhabyani, M. Gomaa, H. Khaled, A. Fahmy, "Dataset of breast ultrasound images", Data in Brief 28 (2020)
        104863, DOI 10.1016/j.dib.2019.104863.

    Args:
        root: the folder that holds `benign/`, `malignant/` and `normal/` (at least one of them), or the folder that
            holds the published `Dataset_BUSI_with_GT`.
        groups_csv: a table with the columns `image_id` (`folder/name.png`) and `duplicate_group`; images of one group
            never straddle a split; every image needs a row. Without it each image is a group of its own, unless the
            split knows the folder.

    Returns:
        Dicts sorted by class and natural order of names: `case_id` (`folder/name.png`), `image` (path), `label` (list
        of mask paths), `class`, `group`, `synthetic` and `lesion_area_fraction`.

    Raises:
        FileNotFoundError: the folder is missing or has no class folder.
        DataError: no image in it, images without a mask, unreadable files, masks of another size: all of them listed.
    """
    root = Path(root)
    if (root / PUBLISHED_FOLDER).is_dir():
        root = root / PUBLISHED_FOLDER
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist; give the folder that holds {_folders()}")
    if not any((root / name).is_dir() for name in CLASSES):
        raise FileNotFoundError(f"data folder {root} holds none of {_folders()}; give the folder that does")
    groups = read_groups(groups_csv) if groups_csv is not None else {}
    synthetic = is_synthetic(root)
    cases, problems = [], []
    for name in CLASSES:
        for image in sorted((root / name).glob("*"), key=natural_order):
            if image.suffix.lower() not in IMAGE_SUFFIXES or mask_owner(image) is not None:
                continue
            masks = find_masks(image)
            if not masks:
                problems.append(f"{image}: no mask beside it (expected {image.stem}_mask.png)")
            case_id = f"{name}/{image.name}"
            if groups and case_id not in groups:
                problems.append(f"{groups_csv}: no row for {case_id}")
            cases.append(
                {
                    "case_id": case_id,
                    "image": str(image),
                    "label": [str(mask) for mask in masks],
                    "class": name,
                    "group": groups.get(case_id, case_id),
                    "synthetic": synthetic,
                }
            )
    if not cases:
        raise DataError(f"no image ({', '.join(IMAGE_SUFFIXES)}) in {_folders()} of {root}: is it the right folder?")
    more, cases = inspect_cases(cases)
    raise_problems(problems + more, len(cases))
    if synthetic:
        logger.warning("SYNTHETIC DATA: %s holds computed phantoms; no number from it says anything on patients", root)
    return cases


def read_groups(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a table of duplicate groups.

    Args:
        path: CSV file with the columns `image_id` and `duplicate_group` (empty: a group of its own).

    Returns:
        Group by image_id.

    Raises:
        ValueError: a column is missing.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows: list[Mapping[str, str]] = list(csv.DictReader(file))
    wanted = {"image_id", "duplicate_group"}
    if not rows or not wanted <= set(rows[0]):
        raise ValueError(f"{path} must be a CSV file with the columns {sorted(wanted)}")
    return {row["image_id"]: row["duplicate_group"] or row["image_id"] for row in rows}


def _folders() -> str:
    return ", ".join(f"{name}/" for name in CLASSES)
