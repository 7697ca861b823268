"""What a model takes as an image: arrays, PIL images, files and DICOM data sets."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hybrid_attention.data.grey import check_size, luma, to_grey
from hybrid_attention.data.images import GreyImage, read_image
from PIL import Image, ImageOps


def to_image(image: Any, spacing: Sequence[float] | None = None) -> GreyImage:
    """Convert what users have to a grey image.

    Args:
        image: array, (H, W), (H, W, 1) or (H, W, 3) (RGB), of integers or floats of any range; PIL image; path of a
            file that `read_image` reads; pydicom `Dataset` with one frame.
        spacing: height and width of a pixel in mm; None for what the image states.

    Raises:
        TypeError: another type.
        ValueError: an array of another shape, without numbers, with NaN or infinity, with a single row, column or grey
            value, or of more than `MAX_PIXELS`; a spacing that is not positive; a file that can't be read.
    """
    if isinstance(image, GreyImage):
        grey = image
    elif isinstance(image, str | os.PathLike):
        try:
            grey = read_image(image)
        except ValueError as error:
            raise ValueError(f"{os.fspath(image)}: {error}") from None
    elif isinstance(image, Image.Image):
        check_size(image.height, image.width)
        grey = GreyImage(_checked(np.asarray(to_grey(ImageOps.exif_transpose(image)))))
    elif hasattr(image, "PhotometricInterpretation"):  # a Dataset, without importing pydicom
        grey = _of_dataset(image)
    elif isinstance(image, np.ndarray) or hasattr(image, "__array__"):
        grey = GreyImage(_of_array(np.asarray(image)))
    else:
        raise TypeError(f"expected an array, a PIL image, a path or a DICOM data set, got {type(image).__name__}")
    if spacing is None:
        return grey
    if len(spacing) != 2 or not all(0 < size < np.inf for size in spacing):
        raise ValueError(f"spacing must be height and width of a pixel in mm, both positive, got {tuple(spacing)}")
    return replace(grey, spacing=(float(spacing[0]), float(spacing[1])))


def _of_array(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "uif":
        raise ValueError(f"an image array must hold integers or floats, got {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    elif array.ndim == 3 and array.shape[2] == 3:
        array = np.asarray(Image.fromarray(array).convert("L")) if array.dtype == np.uint8 else luma(array)
    elif array.ndim == 3 and array.shape[2] == 4:
        raise ValueError(f"an array of shape {array.shape} has four channels: remove alpha, image[..., :3]")
    if array.ndim != 2:
        raise ValueError(f"an image array must be (H, W), (H, W, 1) or (H, W, 3), got {array.shape}")
    return _checked(array)


def _checked(array: np.ndarray) -> np.ndarray:
    """Return grey values, (H, W), that show something."""
    if min(array.shape) < 2:
        raise ValueError(f"an image must have two rows and columns at least, got {array.shape}")
    check_size(*array.shape)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} values of the array are NaN or infinite")
    if array.min() == array.max():
        raise ValueError(f"all pixels have the same grey value ({array.flat[0]:g})")
    return array


def _of_dataset(dataset: Any) -> GreyImage:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.dcm"
        try:
            dataset.save_as(path)
        except Exception as error:  # pydicom raises many kinds
            raise ValueError(f"the DICOM data set can't be encoded ({error})") from error
        return replace(read_image(path), source=None)
