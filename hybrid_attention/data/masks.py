"""Masks: reading them as lesion and background, and merging those of an image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hybrid_attention.data.images import read_plane, to_tissue
from hybrid_attention.data.names import is_dicom, is_image
from hybrid_attention.data.nifti import place_fault
from PIL import Image
from scipy import ndimage

# a file in the folder of the masks or the one above that says what pixels to ignore count as
IGNORE_FILE = "ignore_label.txt"

# largest fraction of an image that a lesion covers; of the 2,157 masks of BUSI and BUS-BRA none exceeds 0.58, and 95 %
# are below 0.25, and so above 0.75 when they are inverted
_LARGEST = 0.75
_IGNORED = (255, 65535)  # the usual ignore labels
_MOST_LABELS = 32
_EDGE = 8  # pixels over which the edge of a lesion may be soft
_STRAY = 0.002  # fraction of pixels that may be grey elsewhere: real images have more than 0.15, JPEG masks 0.0001


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a mask file of any format that `read_grey` reads, except DICOM, as a boolean array (H, W).

    Raises:
        ValueError: the file can't be read, has several pages, or its values are not those of a mask (`binary_mask`).
            The message does not name the file.
    """
    if is_dicom(path):
        raise ValueError("masks are not read from DICOM: save it as PNG or NIfTI")
    if not is_image(path):
        raise ValueError("masks of this format are not read: save it as PNG or NIfTI, or remove it")
    return binary_mask(read_plane(path, mask_values, several_pages=False), _ignored_pixels(Path(path).parent))


def mask_values(image: Image.Image) -> np.ndarray:
    """Return the values of a mask, (H, W), as the program that wrote it meant them.

    They are the indices of a coloured palette whose first entry is black, the brightest channel of other colours, else
    the grey values. Transparent pixels are black.
    """
    if image.mode == "P" and "transparency" not in image.info:
        colours = np.zeros((256, 3), np.uint8)
        stated = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colours[: len(stated)] = stated
        indices = np.asarray(image)
        used = colours[np.unique(indices[indices > 0])]
        if not colours[0].any() and used.any(axis=1).all() and (used != used[:, :1]).any():
            return indices
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        alpha = image.convert("RGBA")
        image = Image.composite(alpha.convert("RGB"), Image.new("RGB", image.size), alpha.getchannel("A"))
    if image.mode in ("1", "L") or image.mode[0] in "IF":
        return np.asarray(image)
    return np.asarray(image.convert("RGB")).max(axis=-1)


def binary_mask(values: np.ndarray, ignored: str | None = None) -> np.ndarray:
    """Binarize a mask.

    Two values, or two clusters of values with soft edges or JPEG noise between them, are background and lesion. A few
    distinct values are labels, and all but 0 are lesion. 255 (or 65535) beside small labels means pixels to ignore.

    Args:
        values: non-negative values of any type.
        ignored: what pixels to ignore count as, "background" or "lesion"; None refuses masks that have them.

    Raises:
        ValueError: the values fit none of these cases, or more than three quarters of the image are lesion.
    """
    lesion = values if values.dtype == bool else _lesion(values, ignored)
    if lesion.mean() > _LARGEST:
        raise ValueError(f"{lesion.mean():.0%} of the image is lesion: is the mask inverted, or not a mask?")
    return lesion


def _lesion(values: np.ndarray, ignored: str | None) -> np.ndarray:
    levels = np.unique(values)
    low, high = float(levels[0]), float(levels[-1])
    if low < 0:
        raise ValueError(f"values from {low:g} to {high:g}: those of a mask start at 0")
    if len(levels) > 2 and high in _IGNORED and levels[-2] <= _MOST_LABELS:
        if ignored is None:
            raise ValueError(
                f"{high:g} beside labels up to {levels[-2]:g} usually means pixels to ignore: write what they count "
                f"as, background or lesion, into a file {IGNORE_FILE} in the folder of the masks or above it"
            )
        return _lesion(np.where(values == high, 0 if ignored == "background" else levels[-2], values), None)
    if len(levels) <= 2 and (low == 0 or low == high):
        return values > 0
    if 2 < len(levels) <= _MOST_LABELS and _has_clean_labels(values):
        return values > 0
    if (high <= 1 or high >= 32) and low <= high / 4 and _has_two_clusters(values.astype(np.float32)):
        return values > (low + high) / 2
    raise ValueError(
        f"{len(levels)} values from {low:g} to {high:g} are neither background and lesion nor a few labels: "
        "is it a mask?"
    )


def _has_clean_labels(values: np.ndarray) -> bool:
    """Return whether most pixels between the lowest and the highest value lie in areas."""
    middle = (values > values.min()) & (values < values.max())
    edge = (ndimage.minimum_filter(values, 3) < values) & (values < ndimage.maximum_filter(values, 3))
    alike = np.zeros(values.shape, int)
    for axis in (0, 1):
        same = np.diff(values, axis=axis) == 0
        alike += np.insert(same, 0, False, axis) + np.insert(same, same.shape[axis], False, axis).astype(int)
    return bool(((alike >= 2) & ~edge)[middle].mean() > 0.5)


def _has_two_clusters(values: np.ndarray) -> bool:
    """Return whether all grey pixels lie between black and white ones, a few pixels from either."""
    level = (values - values.min()) / (values.max() - values.min())
    reach = [ndimage.distance_transform_edt(apart) <= _EDGE for apart in (level > 1 / 4, level < 3 / 4)]
    grey = (level > 1 / 8) & (level < 7 / 8)
    return bool((grey & ~(reach[0] & reach[1])).mean() <= _STRAY)


def _ignored_pixels(folder: Path) -> str | None:
    for place in (folder, folder.parent):
        if (place / IGNORE_FILE).is_file():
            word = (place / IGNORE_FILE).read_text(encoding="utf-8-sig", errors="replace").strip()
            if word not in ("background", "lesion"):
                raise ValueError(f"{place / IGNORE_FILE} must contain the word background or lesion, got {word!r}")
            return word
    return None


def fitted_mask(
    mask: np.ndarray, image: str | os.PathLike[str], size: tuple[int, ...], file: str | os.PathLike[str] | None = None
) -> np.ndarray:
    """Return a mask, (H, W), as it lies over an image: that of a whole DICOM frame is cropped to the tissue.

    Another `size` than the image's, or a `file` whose NIfTI header does not match it, is a ValueError.
    """
    mask = mask if mask.shape == size else to_tissue(mask, image)
    if mask.shape != size:
        own, expected = ("x".join(map(str, shape[::-1])) for shape in (mask.shape, size))
        raise ValueError(f"mask of {own} pixels for an image of {expected}")
    fault = None if file is None else place_fault(file, image)
    if fault:
        raise ValueError(fault)
    return mask


def merged_mask(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Merge the masks of one case, by `binary_mask` if they are not of 0 and 1: a pixel is lesion if it is in any."""
    binary = [((mask == 0) | (mask == 1)).all() for mask in masks]
    return np.any([mask > 0 if done else binary_mask(mask) for mask, done in zip(masks, binary, strict=True)], axis=0)
