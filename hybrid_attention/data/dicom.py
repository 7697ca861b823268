"""DICOM files as images: their frames, the region of a frame that shows tissue, and its pixel size."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hybrid_attention.data.hashing import cached_by_file, check_file
from hybrid_attention.data.names import PREAMBLE, how_to_install, split_frame

if TYPE_CHECKING:
    from pydicom import Dataset

_CENTIMETRES = 3  # code of Physical Units X and Y Direction
_TWO_DIMENSIONAL, _TISSUE = 1, 1  # codes of Region Spatial Format and Region Data Type


class NoPictureError(ValueError):
    """A valid DICOM file that is not an image: a report, a segmentation, a directory."""


@dataclass(frozen=True)
class FrameGeometry:
    """Position of the tissue in the frames of a file."""

    shape: tuple[int, int]  # height and width of a frame in pixels
    box: tuple[int, int, int, int]  # left, top, right and bottom of the tissue; right and bottom are exclusive
    spacing: tuple[float, float] | None  # height and width of a pixel in mm, if the file states it
    aspect: float = 1.0  # height of a pixel divided by its width, from the spacing, else from Pixel Aspect Ratio

    @property
    def part(self) -> tuple[slice, slice]:
        """The box as an index into a plane of shape (H, W)."""
        left, top, right, bottom = self.box
        return slice(top, bottom), slice(left, right)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the tissue in pixels."""
        left, top, right, bottom = self.box
        return bottom - top, right - left

    @property
    def sizes(self) -> tuple[float, float]:
        """Height and width of a pixel in an unknown unit."""
        return self.aspect, 1.0

    def to_file(self, plane: np.ndarray) -> np.ndarray:
        """Return a plane of the size of the tissue in the whole frame, zero outside the box."""
        if plane.shape != self.size:
            raise ValueError(f"a plane of {plane.shape} does not fit the tissue of {self.size}")
        frame = np.zeros(self.shape, dtype=plane.dtype)
        frame[self.part] = plane
        return frame

    def to_tissue(self, plane: np.ndarray) -> np.ndarray:
        """Crop a plane of the size of the frame, such as a mask, to the tissue; another one is returned unchanged."""
        return plane[self.part] if plane.shape == self.shape else plane


def read_header(path: str | os.PathLike[str]) -> Dataset:
    """Read a DICOM file without its pixels.

    Raises:
        NoPictureError: the file is valid but not an image.
        ValueError: it is not a DICOM file, or damaged. Neither message names the file.
    """
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise ImportError(f"reading DICOM needs pydicom: {how_to_install('dicom')}") from None
    check_file(Path(path))
    try:
        header = dcmread(path, stop_before_pixels=True)
        kind = getattr(header.get("SOPClassUID"), "name", "not given")
        has_pixels = all(header.get(key) for key in ("Rows", "Columns", "PhotometricInterpretation"))
    except InvalidDicomError:
        start = Path(path).open("rb").read(16)
        raise ValueError(
            f"not a DICOM file (it starts with {start!r}, and has no DICM after {PREAMBLE} bytes)"
        ) from None
    except Exception as error:  # pydicom raises many kinds for a damaged file
        raise ValueError(f"truncated or damaged DICOM file ({error})") from None
    if "SOPClassUID" not in header or ("Image Storage" in kind and not has_pixels):
        raise ValueError(f"truncated or damaged DICOM file, or one without pixels (SOP class: {kind})")
    if not has_pixels or header.get("Modality") == "SEG":
        raise NoPictureError(f"this DICOM file is not an image ({kind})")
    return header


def frame_count(header: Dataset) -> int:
    """Return the number of frames of a file."""
    return max(int(header.get("NumberOfFrames") or 1), 1)


def numbers(header: Dataset, keyword: str) -> list[float]:
    """Return the values of an attribute; none if it is missing, empty, or has a value that is not a finite number."""
    try:
        value = header.get(keyword)
        several = isinstance(value, Sequence) and not isinstance(value, str)
        found = [float(one) for one in (value if several else [value])]
    except (TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []


def chosen_frames(frames: str | Sequence[int], count: int) -> Sequence[int]:
    """Return the numbers of the frames that are asked for: "all", "middle" (one), or numbers counted from 1."""
    if not (frames in ("all", "middle") if isinstance(frames, str) else isinstance(frames, Sequence) and frames):
        raise ValueError(f"frames must be 'all', 'middle' or a list of numbers counted from 1, got {frames!r}")
    if count == 0:
        raise ValueError("it has no frames")
    if isinstance(frames, str):
        return range(1, count + 1) if frames == "all" else [(count + 1) // 2]
    wrong = [number for number in frames if number not in range(1, count + 1)]
    if wrong:
        raise ValueError(f"frame {wrong[0]!r} does not exist: the file has {count}, counted from 1")
    return frames


def frame_geometry(header: Dataset) -> FrameGeometry:
    """Find the tissue in the frames of a file and the size of their pixels.

    The box encloses all two-dimensional regions of tissue in Sequence of Ultrasound Regions; without any it is the
    whole frame. The spacing is that of the regions if it is in cm and the same in all; if no region states one it is
    Pixel Spacing. A region of tissue outside the frame is a ValueError.

    Reference:
        DICOM PS3.3, section C.8.5.5, US Region Calibration Module.
    """
    width, height = int(header.Columns), int(header.Rows)
    boxes, spacings = [], []
    for region in header.get("SequenceOfUltrasoundRegions") or []:
        if (region.get("RegionSpatialFormat"), region.get("RegionDataType")) != (_TWO_DIMENSIONAL, _TISSUE):
            continue
        names = ("MinX0", "MinY0", "MaxX1", "MaxY1")
        corners = [region.get(f"RegionLocation{name}") for name in names]
        if None in corners:
            raise ValueError(f"a region of tissue has no {', '.join(names)}: its corners are {corners}")
        left, top, last_column, last_row = corners
        box = (max(left, 0), max(top, 0), min(last_column + 1, width), min(last_row + 1, height))
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(
                f"the region of tissue with corners {corners} is outside the frame of {width}x{height} pixels"
            )
        boxes.append(box)
        spacings.append(_region_spacing(region))
    stated = [spacing for spacing in spacings if spacing is not None]
    if stated:
        agree = len(stated) == len(spacings) and np.allclose(stated, stated[0], rtol=1e-3, atol=0)
        spacing = stated[0] if agree else None
    else:
        spacing = _stated_spacing(header)
    box = (*np.min(boxes, axis=0)[:2].tolist(), *np.max(boxes, axis=0)[2:].tolist()) if boxes else (0, 0, width, height)
    ratio = numbers(header, "PixelAspectRatio") if spacing is None else list(spacing)
    aspect = ratio[0] / ratio[1] if len(ratio) == 2 and min(ratio) > 0 else 1.0
    return FrameGeometry((height, width), box, spacing, aspect)


def _region_spacing(region: Dataset) -> tuple[float, float] | None:
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    if units != (_CENTIMETRES, _CENTIMETRES):
        return None
    # a delta is negative where the axis runs the other way
    deltas = [abs(value) * 10 for axis in "XY" for value in numbers(region, f"PhysicalDelta{axis}")]
    return (deltas[1], deltas[0]) if len(deltas) == 2 and min(deltas) > 0 else None


def _stated_spacing(header: Dataset) -> tuple[float, float] | None:
    holders = [header]
    for shared in header.get("SharedFunctionalGroupsSequence") or []:
        holders += shared.get("PixelMeasuresSequence") or []
    for holder in holders:
        spacing = numbers(holder, "PixelSpacing")
        if len(spacing) == 2 and min(spacing) > 0:
            return spacing[0], spacing[1]
    return None


def geometry(path: str | os.PathLike[str]) -> FrameGeometry:
    """Return size, box and spacing of a file, or of the file of a frame; see `frame_geometry`."""
    return _geometry(split_frame(path)[0])


@cached_by_file(100_000)
def _geometry(path: Path) -> FrameGeometry:
    return frame_geometry(read_header(path))
