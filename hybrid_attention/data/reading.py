"""Reading images of any mode and format as grey arrays, and telling what is wrong with those that can't be read."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hybrid_attention.data.dicom import DICOM_SUFFIXES, geometry, is_dicom, split_frame, strip_dicom_suffix
from hybrid_attention.data.dicom_pixels import read_dicom_grey
from hybrid_attention.data.nifti import NIFTI_SUFFIXES, is_nifti, read_nifti, slice_geometry
from monai.data import ImageReader
from monai.utils import ensure_tuple
from PIL import Image, ImageOps

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".pgm", ".ppm")
ALL_SUFFIXES = (*IMAGE_SUFFIXES, *NIFTI_SUFFIXES, *DICOM_SUFFIXES)
# the content decides; Pillow would hand other kinds, such as PostScript, to programs outside
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # tag of TIFF

logger = logging.getLogger(__name__)


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
        path: PNG, JPEG, TIFF, WebP, BMP, GIF, JPEG 2000, PGM or PPM of any mode, turned as its orientation tag says, of
            several pages the first; NIfTI with one slice, DICOM with one frame, or a frame of a DICOM file
            (`cine.dcm#3`), of which the tissue is read.

    Returns:
        Array of shape (W, H), MONAI's axis order for every reader; uint8 or float32.

    Raises:
        ValueError: the file is empty, truncated, not an image, holds NaN, Inf or one grey value alone, or is not one 2D
            slice or frame. The message says which, without the file's name, so that callers can list many.
        ImportError: the file is DICOM and pydicom is missing.
    """
    grey = read_plane(path)
    if grey.min() == grey.max():
        raise ValueError(f"all pixels have one grey value ({grey.flat[0]:g}): it shows nothing")
    return grey


def read_plane(
    path: str | os.PathLike[str], values: Callable[[Image.Image], Any] = to_grey, several_pages: bool = True
) -> np.ndarray:
    """Read a file as `read_grey` does, whatever it shows.

    Args:
        path: see `read_grey`.
        values: what becomes of a picture that Pillow reads, upright: an array of shape (H, W).
        several_pages: read the first of several, with a warning in the log; False refuses the file.

    Returns:
        Array of shape (W, H).

    Raises:
        ValueError: see `read_grey`, but for the single grey value.
        ImportError: the file is DICOM and pydicom is missing.
    """
    file, _ = split_frame(path)
    if not file.is_file():
        target = f": it is a link to {os.readlink(file)}" if file.is_symlink() else ""
        raise ValueError(f"the file does not exist{target}")
    if file.stat().st_size == 0:
        raise ValueError("the file has zero bytes")
    try:
        if is_dicom(path):
            array = read_dicom_grey(path)
        else:
            array = read_nifti(path) if is_nifti(path) else _read_picture(file, values, several_pages)
    except (ValueError, ImportError):
        raise
    except Exception as error:  # whatever a library did not foresee belongs to this file, too
        raise ValueError(f"it can't be read ({type(error).__name__}: {error})") from error
    if array.ndim != 2:
        raise ValueError(f"expected one grey plane, got an array of shape {array.shape}")
    if array.size == 0:
        raise ValueError("it has no pixels")
    if not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} pixels are NaN or Inf")
    return array


def _read_picture(path: Path, values: Callable[[Image.Image], Any], several_pages: bool) -> np.ndarray:
    try:
        # by its name Pillow would map an uncompressed TIFF to memory, and garble it where its tag says to turn it
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # what a phone adds to a JPEG
            image.load()
            with suppress(Exception):  # a damaged tag says nothing, to viewers neither
                ImageOps.exif_transpose(image, in_place=True)
            plane = np.array(values(image)).T
            if image.mode.startswith("I;16") and _white_is_zero(image):
                plane = 65535 - plane  # Pillow inverts 8 bits alone
    except Image.UnidentifiedImageError:
        start = path.open("rb").read(16)
        raise ValueError(f"not an image (it starts with {start!r})") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"truncated or damaged image ({error})") from None
    if pages > 1:
        if not several_pages:
            raise ValueError(f"it has {pages} pages: save each as a file of its own")
        _say_first_page(path, pages)
    return plane


def _white_is_zero(image: Image.Image) -> bool:
    return getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


@cache  # a file is read more than once
def _say_first_page(path: Path, pages: int) -> None:
    logger.warning("%s has %d pages, of which the first is read", path, pages)


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

    Several files given for one key become channels. Use it as `LoadImaged(keys, reader=GreyReader)`, and for masks
    `MaskReader`.
    """

    read_file = staticmethod(read_grey)

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
                images.append((str(name), self.read_file(name)))
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
