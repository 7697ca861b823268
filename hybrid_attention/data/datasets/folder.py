"""A plain folder of images with their masks beside them, for data without classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hybrid_attention.data.checks import DataError, inspect_cases, raise_if_invalid
from hybrid_attention.data.datasets.busi import read_groups
from hybrid_attention.data.datasets.common import new_case
from hybrid_attention.data.dicom import split_frame
from hybrid_attention.data.files import files_below, same_name
from hybrid_attention.data.images import natural_order, strip_suffix
from hybrid_attention.data.listing import expand_frames, image_files
from hybrid_attention.data.masks import find_masks


def folder_datalist(
    root: str | os.PathLike[str], groups_csv: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """List the images of a folder and its subfolders, with the masks beside them; every file is read once and checked.

    The masks of `NAME.png` are `NAME_mask.png`, `NAME_mask_1.png` and so on, all black if there is no lesion.

    Args:
        root: the folder.
        groups_csv: a table of groups, as in `busi_datalist`. Without it each file is a group of its own.

    Returns:
        Dicts sorted by path with the keys of `busi_datalist`; `class` is empty.

    Raises:
        FileNotFoundError: the folder does not exist.
        DataError: no image with a mask, images without a mask or with those of another, unreadable files, masks of
            another size; all are listed.
        ImportError: there is a DICOM file, and pydicom is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist")
    files = image_files(files_below(root))
    images, problems = expand_frames(sorted(files, key=lambda path: (path.parent, natural_order(path))))
    masks = {image: find_masks(image) for image in images}
    if not any(masks.values()):
        raise DataError(
            f"{root} contains no image with a mask beside it (a.png and a_mask.png), and it is not in the layout of a "
            "published data set; give the folder of the images"
        )
    groups = None if groups_csv is None else read_groups(groups_csv)
    cases: list[dict[str, Any]] = []
    owners: dict[Path, Path] = {}
    for image in images:
        name = image.relative_to(root)
        if not masks[image]:
            problems.append(f"{image}: no mask beside it (expected {strip_suffix(image.name)}_mask.png)")
        owner = owners.setdefault(image.with_name(same_name(strip_suffix(image.name))), image)
        if owner != image:
            problems.append(f"{image}: its masks would be those of {owner.name}; rename or remove one")
        if groups is not None and same_name(name.as_posix()) not in groups:
            problems.append(f"{groups_csv}: no row for {name.as_posix()}")
        group = (groups or {}).get(same_name(name.as_posix()), split_frame(name)[0].as_posix())
        cases.append(new_case("folder", root, image, masks[image], group))
    more, cases = inspect_cases(cases)
    raise_if_invalid([*problems, *more], len(cases))
    return cases
