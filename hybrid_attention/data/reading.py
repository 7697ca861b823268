"""Reading images of any mode and format as grey arrays, and telling what is wrong with those that can't be read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hybrid_attention.data.dicom import DICOM_SUFFIXES, geometry, is_dicom, split_frame, strip_dicom_suffix
from hybrid_attention.data.dicom_pixels import read_dicom_grey
from hybrid_attention.data.nifti import NIFTI_SUFFIXES, is_nifti, read_nifti, slice_geometry
from monai.data import ImageReader
from monai.utils import ensure_tuple
from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
ALL_SUFFIXES = (*IMAGE_SUFFIXES, *NIFTI_SUFFIXES, *DICOM_SUFFIXES)


def to_grey(image: Image.Image) -> Image.Image:
    """Convert a PIL image of any mode to grey without loss of what it shows.

    1-bit, palette and colour images become 8-bit grey ("L", ITU-R 601-2 luma); 16-bit and 32-bit ones become float
    ("F") with their values kept, where PIL's own conversion would clip them at 255; transparent pixels become black.

    Args:
        image: the opened image.

    Returns:
        An image of mode "L" or "F".
    """
    if image.mode == "L":
        image.load()
        return image
    if image.mode[0] in "IF":
        return image.convert("F")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        return Image.composite(with_alpha.convert("L"), Image.new("L", image.size), with_alpha.getchannel("A"))
    return image.convert("L")


def natural_order(path: Path) -> tuple[int | str, ...]:
    """Return a sorting key that orders names as people do: "benign (2)" before "benign (10)"."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name))


def strip_suffix(name: str) -> str:
    """Return `name` without its image suffix (`.nii.gz` counts as one); the number of a frame stays."""
    for suffix in (*NIFTI_SUFFIXES[::-1], *IMAGE_SUFFIXES):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return strip_dicom_suffix(name)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is an image that this package reads: by its name; DICOM without an ending by its start."""
    return str(path).lower().endswith(IMAGE_SUFFIXES) or is_nifti(path) or is_dicom(path)


def read_grey(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file as a grey array.

    Args:
        path: PNG, JPEG or BMP of any mode, NIfTI with one slice, DICOM with one frame, or a frame of a DICOM file
            (`cine.dcm#3`), of which the tissue is read.

    Returns:
        Array of shape (W, H), MONAI's axis order for every reader; uint8 or float32.

    Raises:
        ValueError: the file is empty, truncated, not an image, holds NaN or Inf, or is not one 2D slice or frame. The
            message says which, without the file's name, so that callers can list many.
        ImportError: the file is DICOM and pydicom is missing.
    """
    file, _ = split_frame(path)
    if not file.is_file():
        raise ValueError("the file does not exist")
    if file.stat().st_size == 0:
        raise ValueError("the file has zero bytes")
    read = read_dicom_grey if is_dicom(path) else read_nifti if is_nifti(path) else _read_picture
    try:
        array = read(path)
    except (ValueError, ImportError):
        raise
    except Exception as error:  # whatever a library did not foresee belongs to this file, too
        raise ValueError(f"it can't be read ({type(error).__name__}: {error})") from error
    if array.ndim != 2:
        raise ValueError(f"expected one grey plane, got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} pixels are NaN or Inf")
    return array


def _read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(to_grey(image)).T
    except Image.UnidentifiedImageError:
        start = Path(path).open("rb").read(16)
        raise ValueError(f"not an image (it starts with {start!r})") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"truncated or damaged image ({error})") from None


def pixel_spacing(path: str | os.PathLike[str]) -> tuple[float, float] | None:
    """Return the size of a pixel where the file states it.

    Args:
        path: an image file; of the formats read here NIfTI and DICOM state spacing.

    Returns:
        Width and height in mm, or None.
    """
    if is_dicom(path):
        return geometry(path).spacing
    return slice_geometry(path).spacing if is_nifti(path) else None


def pixel_proportions(path: str | os.PathLike[str]) -> tuple[float, float]:
    """Return width and height of a pixel in the side of a square of the same area: (1, 1) but for DICOM and NIfTI."""
    if is_dicom(path):
        width, height = 1.0, geometry(path).aspect
    elif is_nifti(path):
        width, height = slice_geometry(path).sizes
    else:
        return 1.0, 1.0
    side = math.sqrt(width * height)
    return width / side, height / side


class GreyReader(ImageReader):
    """MONAI image reader that opens every supported file with `read_grey`, so that checks and training see one thing.

    Several files given for one key (the masks of one case) become channels. Use it as
    `LoadImaged(keys, reader=GreyReader)`.
    """

    def verify_suffix(self, filename: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> bool:
        """Tell whether all of `filename` are images by their names."""
        return all(is_image(name) for name in ensure_tuple(filename))

    def read(
        self, data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], **kwargs: Any
    ) -> list[tuple[str, np.ndarray]]:
        """Read one or several files.

        Args:
            data: path or paths.
            kwargs: not used.

        Returns:
            A list of (path, array of shape (W, H)).

        Raises:
            ValueError: naming the file and what is wrong with it.
        """
        images = []
        for name in ensure_tuple(data):
            try:
                images.append((str(name), read_grey(name)))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return images

    def get_data(self, img: list[tuple[str, np.ndarray]]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return what `read` gave as one array and its metadata.

        Args:
            img: the answer of `read`.

        Returns:
            Array of shape (W, H) for one file or (n, W, H) for several, and its metadata.
        """
        arrays = [array for _, array in img]
        meta: dict[str, Any] = {"filename_or_obj": img[0][0], "spatial_shape": np.asarray(arrays[0].shape)}
        if len(arrays) == 1:
            return arrays[0], {**meta, "original_channel_dim": float("nan")}
        return np.stack(arrays), {**meta, "original_channel_dim": 0}
