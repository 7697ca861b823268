"""How masks are named, found beside their image, judged and merged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hybrid_attention.data.nifti import NIFTI_SUFFIXES
from hybrid_attention.data.reading import IMAGE_SUFFIXES, natural_order, strip_suffix


def mask_owner(path: str | os.PathLike[str]) -> str | None:
    """Return the stem of the image that a file is a mask of, by its name.

    Args:
        path: for example "benign (4)_mask_1.png", or "a_mask.nii.gz".

    Returns:
        For example "benign (4)"; None for the name of no mask.
    """
    stem, separator, number = strip_suffix(Path(path).name).rpartition("_mask")
    if not separator or not (number == "" or (number.startswith("_") and number[1:].isdigit())):
        return None
    return stem


def find_masks(image: str | os.PathLike[str]) -> list[Path]:
    """Find the mask files of an image: `NAME_mask.EXT` and `NAME_mask_<n>.EXT` beside it.

    They are PNG, JPEG, BMP or NIfTI, whatever the image is. Those of `a.nii.gz` are `a_mask.EXT`, those of the frame
    `loop.dcm#3` are `loop#3_mask.EXT`.

    Args:
        image: path of the image.

    Returns:
        The masks' paths, sorted by number.
    """
    image = Path(image)
    stem = strip_suffix(image.name)
    found = [
        path
        for path in image.parent.iterdir()
        if path.name.startswith(stem)
        and path.name.lower().endswith((*IMAGE_SUFFIXES, *NIFTI_SUFFIXES))
        and mask_owner(path) == stem
    ]
    return sorted(found, key=natural_order)


def merged_mask(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Merge the masks of one case into one: a pixel is lesion where any mask is brighter than half its maximum.

    Args:
        arrays: grey masks of one shape, of any value range (0/1, 0/255, 16-bit).

    Returns:
        Boolean array of that shape.
    """
    return np.any([(array > 0.5 * max(float(array.max()), 1e-9)) for array in arrays], axis=0)


def mask_fault(mask: np.ndarray) -> str | None:
    """Say what makes an array unfit to be a mask.

    Args:
        mask: grey values.

    Returns:
        A message, or None for a fit one: empty, 0/1, or with a clear white. A "black" mask with compression noise of a
        few grey levels would otherwise become a large lesion.
    """
    low, high = float(mask.min()), float(mask.max())
    if 1 < high < 32:
        return f"values from {low:g} to {high:g} are neither 0/1 nor black/white: is it a mask?"
    return None
