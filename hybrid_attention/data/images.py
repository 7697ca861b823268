"""Reading images of any mode and format as grey arrays, with clear errors for those that can't be read."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from hybrid_attention.data.dicom import FrameGeometry, geometry
from hybrid_attention.data.dicom_pixels import read_dicom_grey
from hybrid_attention.data.grey import MAX_PIXELS, to_grey
from hybrid_attention.data.hashing import cached_by_file, check_file
from hybrid_attention.data.names import is_dicom, is_nifti, is_video, split_frame
from hybrid_attention.data.nifti import SliceGeometry, read_nifti, slice_geometry, write_nifti
from hybrid_attention.data.video import read_video_grey
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

# formats are recognised by content; Pillow would hand others, such as PostScript, to external programs
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")
COMPRESSION = 1  # of written PNG: four times as fast as the default, files a few percent larger
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # tag of TIFF
_SIZE, _ORIENTATION, _TURNED = ((256, 257), 274, (5, 6, 7, 8))  # of EXIF; values that exchange rows and columns
_TAGS = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}  # where a PNG has it

logger = logging.getLogger(__name__)


def read_grey(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file as a grey array, (H, W), uint8 or float32.

    Args:
        path: PNG, JPEG, TIFF, WebP, BMP, GIF, JPEG 2000, PGM or PPM of any mode, rotated as its orientation tag says
            (the first of several pages); NIfTI with one slice; DICOM with one frame, or a frame of a DICOM file
            (`cine.dcm#3`), cropped to the tissue; a frame of a video (`clip.mp4#3`).

    Raises:
        ValueError: the file is empty, truncated, not an image, larger than `MAX_PIXELS`, contains NaN, Inf or a single
            grey value, or is not one 2D slice or frame. The message does not name the file.
        ImportError: the file is DICOM and pydicom is missing, or a video and PyAV is.
    """
    return _read_grey(Path(path)).copy()


@cached_by_file(1)  # handlers draw on the image that the network just got; one of 50 million pixels takes 200 MB
def _read_grey(path: Path) -> np.ndarray:
    grey = read_plane(path)
    if grey.min() == grey.max():
        raise ValueError(f"all pixels have the same grey value ({grey.flat[0]:g})")
    return grey


def read_plane(
    path: str | os.PathLike[str], values: Callable[[Image.Image], Any] = to_grey, several_pages: bool = True
) -> np.ndarray:
    """Read a file as `read_grey` does, but allow a single grey value, and optionally refuse several pages.

    `values` converts a picture that Pillow reads, already upright, to an array of shape (H, W).
    """
    with _readable_file(path) as file:
        if is_dicom(path):
            array = read_dicom_grey(path)
        elif is_video(path):
            array = read_video_grey(path)
        else:
            array = read_nifti(path) if is_nifti(path) else _read_picture(file, values, several_pages)
    if array.ndim != 2:
        raise ValueError(f"expected one grey plane, got an array of shape {array.shape}")
    if array.size == 0:
        raise ValueError("it has no pixels")
    if not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} pixels are NaN or Inf")
    return array


@contextmanager
def _readable_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the file of an image or a frame, which is not empty; any error of the block becomes a ValueError."""
    file, _ = split_frame(path)
    check_file(file)
    try:
        yield file
    except (ValueError, ImportError):
        raise
    except Exception as error:  # libraries raise many kinds for damaged files
        raise ValueError(f"it can't be read ({type(error).__name__}: {error})") from error


def image_shape(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return height and width of an image, those of the array of `read_grey`, from the header of its file.

    Pixels are not decoded, except for a frame of a video. The checksums of a PNG are compared, which finds truncated
    files. Errors are those of `read_grey`.
    """
    with _readable_file(path) as file:
        place = file_geometry(path)
        if place is not None:
            return place.size
        if is_video(path):
            height, width = read_video_grey(path).shape
            return height, width
        return _picture_shape(file)


@cached_by_file(100_000)
def _picture_shape(path: Path) -> tuple[int, int]:
    with _opened(path) as image:
        turned = False
        if image.format != "PNG" or not _TAGS.isdisjoint(image.info) or _has_late_tags(image.fp):  # type: ignore[attr-defined]
            with suppress(Exception):
                turned = image.getexif().get(_ORIENTATION) in _TURNED
        # of a TIFF, Pillow's size is turned already in some versions
        width, height = [image.tag_v2[tag] for tag in _SIZE] if isinstance(image, TiffImageFile) else image.size
        if image.format == "PNG" and getattr(image, "fp", None) is not None:
            image.verify()
    return (width, height) if turned else (height, width)


def _has_late_tags(file: BinaryIO) -> bool:
    """Return whether tags may follow the pixels of a PNG, which Pillow would decode to look for them."""
    place = file.tell()
    found = b"eXIf" in file.read()
    file.seek(place)
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture; errors, also those of the block, become a ValueError."""
    try:
        # given a file name, Pillow maps an uncompressed TIFF to memory, and garbles it when its tag says to rotate it
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except Image.UnidentifiedImageError:
        start = path.open("rb").read(132)
        hint = "a ZIP archive: unpack it first" if start.startswith(b"PK") else f"it starts with {start[:16]!r}"
        hint = "a DICOM file: change its suffix to .dcm" if start.endswith(b"DICM") else hint
        raise ValueError(f"not an image ({hint})") from None
    except Image.DecompressionBombError:  # Pillow's own limit is higher
        raise ValueError(f"it has more than {MAX_PIXELS / 1e6:g} million pixels: crop it or save it smaller") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(f"truncated or damaged image ({error})") from None


def _read_picture(path: Path, values: Callable[[Image.Image], Any], several_pages: bool) -> np.ndarray:
    with _opened(path) as image:
        pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a phone's JPEG with more in it
        image.load()
        with suppress(Exception):  # viewers ignore a damaged tag, too
            ImageOps.exif_transpose(image, in_place=True)
        plane = np.array(values(image))
        if image.mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            plane = 65535 - plane  # Pillow inverts only 8 bits
    if pages > 1:
        if not several_pages:
            raise ValueError(f"it has {pages} pages: save each as a file of its own")
        _say_first_page(path, pages)
    return plane


@cache  # warn once per file
def _say_first_page(path: Path, pages: int) -> None:
    logger.warning("%s has %d pages, only the first is read", path, pages)


@dataclass(frozen=True, eq=False)
class GreyImage:
    """A grey image, and what its file says about it."""

    pixels: np.ndarray  # grey values of any range, (H, W), uint8 or float32; of DICOM the tissue
    source: str | None = None  # the file or frame; None for an image that is not from a file
    spacing: tuple[float, float] | None = None  # height and width of a pixel in mm, if known
    proportions: tuple[float, float] = (1.0, 1.0)  # height and width of a pixel relative to a square of the same area
    geometry: FrameGeometry | SliceGeometry | None = None  # position of the pixels in a DICOM or NIfTI file

    def fit(self, mask: np.ndarray) -> np.ndarray:
        """Crop a mask of a whole DICOM frame to the tissue; others are returned unchanged."""
        return self.geometry.to_tissue(mask) if isinstance(self.geometry, FrameGeometry) else mask

    def write(self, plane: np.ndarray, path: str | os.PathLike[str]) -> None:
        """Write a mask or map, (H, W), bool or floats from 0 to 1, so that viewers can overlay it on the file.

        The format is NIfTI for a NIfTI image (0 and 1, or float32); else PNG (0 to 255), of the whole frame for DICOM.
        """
        values = plane.astype(np.uint8 if plane.dtype == bool else np.float32)
        if isinstance(self.geometry, SliceGeometry):
            write_nifti(values, str(self.source), path)
            return
        if isinstance(self.geometry, FrameGeometry):
            values = self.geometry.to_file(values)
        Image.fromarray((values * 255).round().astype(np.uint8)).save(path, compress_level=COMPRESSION)


def read_image(path: str | os.PathLike[str]) -> GreyImage:
    """Read an image file as `read_grey` does, with what it says about its pixels."""
    return GreyImage(read_grey(path), str(path), pixel_spacing(path), pixel_proportions(path), file_geometry(path))


def file_geometry(path: str | os.PathLike[str]) -> FrameGeometry | SliceGeometry | None:
    """Return the position of an image's pixels in its file, for DICOM and NIfTI; of others the two are the same."""
    if is_dicom(path):
        return geometry(path)
    return slice_geometry(path) if is_nifti(path) else None


def pixel_spacing(path: str | os.PathLike[str]) -> tuple[float, float] | None:
    """Return height and width of a pixel in mm; None if the file does not state it, as only NIfTI and DICOM do."""
    place = file_geometry(path)
    return None if place is None else place.spacing


def pixel_proportions(path: str | os.PathLike[str]) -> tuple[float, float]:
    """Return height and width of a pixel relative to a square of the same area: (1, 1) except for DICOM and NIfTI."""
    place = file_geometry(path)
    height, width = (1.0, 1.0) if place is None else place.sizes
    side = math.sqrt(width * height)
    return height / side, width / side


def to_full_frame(plane: np.ndarray, source: str | os.PathLike[str]) -> np.ndarray:
    """Put a plane, as `read_grey` returns it, back into the whole frame of a DICOM image; others are unchanged."""
    return geometry(source).to_file(plane) if is_dicom(source) else plane


def to_tissue(plane: np.ndarray, source: str | os.PathLike[str]) -> np.ndarray:
    """Crop a plane of the size of a whole DICOM frame, for example a mask, to the tissue; others are unchanged."""
    return geometry(source).to_tissue(plane) if is_dicom(source) else plane
