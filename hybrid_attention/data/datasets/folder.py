"""A plain folder of images with their masks beside them, for data without classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hybrid_attention.data.checks import DataError
from hybrid_attention.data.datasets.common import cases_with_masks
from hybrid_attention.data.files import files_below
from hybrid_attention.data.listing import image_files
from hybrid_attention.data.masks import mask_owner


def folder_datalist(
    root: str | os.PathLike[str], groups_csv: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """List the images of a folder and its subfolders, with the masks beside them; all files are checked.

    The masks of `NAME.png` are `NAME_mask.png`, `NAME_mask_1.png` and so on, all black if there is no lesion.

    Args:
        root: the folder.
        groups_csv: a table of groups, as in `busi_datalist`. Without it each file is a group of its own.

    Returns:
        Dicts sorted by path with the keys of `busi_datalist`; `class` is empty.

    Raises:
        FileNotFoundError: the folder does not exist.
        DataError: no image with a mask; otherwise see `busi_datalist`.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist")
    files = files_below(root)
    masks = any(mask_owner(path) for path in files)
    cases = cases_with_masks("folder", root, image_files(files), groups_csv) if masks else []
    if not cases:
        raise DataError(
            f"{root} contains no image with a mask beside it (a.png and a_mask.png), and it is not in the layout of a "
            "published data set; give the folder of the images"
        )
    return cases
