"""NIfTI files as images: one slice in a fixed orientation, whatever that of the file, and the inverse."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hybrid_attention.data.grey import check_size, luma
from hybrid_attention.data.hashing import cached_by_file
from hybrid_attention.data.names import is_nifti

_PER_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_TOLERANCE = 0.1  # of a pixel, by which the corners of two grids may differ


@dataclass(frozen=True)
class SliceGeometry:
    """Position of the slice of a file in its array and in space."""

    shape: tuple[int, ...]  # of the file's array, without colours
    axes: tuple[int, int]  # of the array, that run down and across the picture
    flips: tuple[bool, bool]  # whether the file stores these axes backwards
    sizes: tuple[float, float]  # height and width of a pixel in the unit of the file
    spacing: tuple[float, float] | None  # the same in mm, if the file states a physical size
    affine: np.ndarray  # (4, 4)
    placed: bool  # whether the file states its position in space

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        return self.shape[self.axes[0]], self.shape[self.axes[1]]

    def to_plane(self, array: np.ndarray) -> np.ndarray:
        """Return the slice as a picture, (H, W), from an array of `shape`."""
        plane = array.squeeze(tuple(axis for axis in range(array.ndim) if axis not in self.axes))
        plane = plane if self.axes[0] < self.axes[1] else plane.T
        return self._flipped(plane)

    def to_file(self, plane: np.ndarray) -> np.ndarray:
        """Return a picture, (H, W), as the file would store it, an array of `shape`; ValueError if it doesn't fit."""
        if plane.shape != self.size:
            raise ValueError(f"a plane of {plane.shape} does not fit the slice of {self.size}")
        stored = self._flipped(plane)
        return (stored if self.axes[0] < self.axes[1] else stored.T).reshape(self.shape)

    def _flipped(self, plane: np.ndarray) -> np.ndarray:
        return np.flip(plane, tuple(axis for axis, flip in enumerate(self.flips) if flip)).copy()

    def corners(self) -> np.ndarray:
        """Return the positions of three corner pixels, (3, 3): the first, the last down, the last across."""
        ends = np.zeros((3, 3))
        for index, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True), start=1):
            last = self.shape[axis] - 1
            ends[:, axis] = last if flip else 0
            ends[index, axis] = 0 if flip else last
        return ends @ self.affine[:3, :3].T + self.affine[:3, 3]


def slice_geometry(path: str | os.PathLike[str]) -> SliceGeometry:
    """Find how the slice of a NIfTI file is turned into a picture; more than one slice is a ValueError.

    The orientation is that of radiology: right in the picture is the patient's left (posterior in a sagittal slice),
    down is posterior, else inferior; axes of oblique slices count as the nearest of these. ITK writes a PNG as NIfTI
    in the same way. A file without orientation (both codes 0) or with the identity as affine, as Python tools write,
    does not state its position: its first axis runs across and its second down. Pixels of exactly 1 x 1 come from a
    converted picture and are not a physical size.
    """
    return _slice_geometry(Path(path))


@cached_by_file(100_000)
def _slice_geometry(path: Path) -> SliceGeometry:
    return _geometry(_load(path))


def read_nifti(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a NIfTI file with one slice as grey (of colours the luma), (H, W), float32, turned by `slice_geometry`."""
    image = _load(path)
    geometry = _geometry(image)
    try:
        array = np.asarray(image.dataobj)
    except Exception as error:  # gzip and zlib raise many kinds for a damaged file
        raise ValueError(f"damaged NIfTI file ({error})") from None
    if array.dtype.names:  # RGB stored as a structured type
        array = luma(np.stack([array[name] for name in array.dtype.names], axis=-1))
    elif _has_vectors(image):
        array = luma(array)
    return geometry.to_plane(array.reshape(geometry.shape)).astype(np.float32)


def write_nifti(plane: np.ndarray, source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write a picture, (H, W), with orientation and affine of its source image, so that viewers can overlay it."""
    import nibabel

    original = _load(source)
    array = _geometry(original).to_file(plane)
    image: Any = nibabel.Nifti1Image(array, original.affine if _states_affine(original) else None)
    if image.affine is None:
        image.header.set_zooms(original.header.get_zooms()[: array.ndim])
    image.header.set_xyzt_units(*original.header.get_xyzt_units())
    nibabel.save(image, path)


def place_fault(mask: str | os.PathLike[str], image: str | os.PathLike[str]) -> str | None:
    """Explain why a mask does not match an image pixel by pixel, as far as NIfTI headers tell; None if it does."""
    if not is_nifti(image):
        return None
    own = slice_geometry(image)
    if not is_nifti(mask):
        if own.axes[0] > own.axes[1] and not any(own.flips):
            return None
        return (
            f"it has no orientation, but the image {image} is not stored as viewers show it (affine "
            f"{_text(own.affine)}): save the mask as NIfTI"
        )
    other = slice_geometry(mask)
    if own.placed == other.placed:
        if not own.placed or np.abs(own.corners() - other.corners()).max() < _TOLERANCE * min(own.sizes):
            return None
    return (
        f"its affine {_text(other.affine)} does not match that of the image {image}, {_text(own.affine)}: "
        "resample the mask to the grid of the image"
    )


def _load(path: str | os.PathLike[str]) -> Any:
    import nibabel

    try:
        return nibabel.load(path)
    except Exception as error:  # nibabel, gzip and zlib raise many kinds for a damaged file
        raise ValueError(f"damaged NIfTI file ({error})") from None


def _states_affine(image: Any) -> bool:
    return bool(image.header["qform_code"] or image.header["sform_code"])


def _has_vectors(image: Any) -> bool:
    """Return whether the fifth axis holds colours, as SimpleITK writes them."""
    return image.get_data_dtype() == np.uint8 and len(image.shape) == 5 and image.shape[4] in (3, 4)


def _geometry(image: Any) -> SliceGeometry:
    from nibabel.orientations import io_orientation

    shape = image.shape[:4] if _has_vectors(image) else image.shape
    long = [axis for axis, extent in enumerate(shape[:3]) if extent > 1]
    if len(long) > 2 or len(shape) < 2 or any(extent > 1 for extent in shape[3:]):
        raise ValueError(f"expected one 2D slice, got an array of shape {image.shape}")
    axes = sorted([*long, *(axis for axis in range(len(shape[:3])) if axis not in long)][:2])
    flips = [False, False]
    header, affine = image.header, image.affine
    placed = _states_affine(image) and not np.array_equal(affine, np.eye(4))
    if placed:
        toward = io_orientation(affine)[axes]  # (world axis, 1 towards right, anterior or superior) of each
        if not np.isfinite(toward).all():
            raise ValueError(f"damaged NIfTI file (its affine is {_text(affine)})")
        order = np.argsort(toward[:, 0])
        axes, flips = [axes[one] for one in order], [bool(toward[one, 1] > 0) for one in order]
    axes, flips = axes[::-1], flips[::-1]  # down, then across
    check_size(shape[axes[0]], shape[axes[1]])
    zooms = [float(header.get_zooms()[axis]) for axis in axes]
    unit = _PER_MM.get(header.get_xyzt_units()[0])
    physical = unit is not None and min(zooms) > 0 and zooms != [1, 1]
    return SliceGeometry(
        shape[:3],
        (axes[0], axes[1]),
        (flips[0], flips[1]),
        (zooms[0], zooms[1]) if min(zooms) > 0 else (1.0, 1.0),
        (zooms[0] * unit, zooms[1] * unit) if physical and unit else None,
        affine,
        placed,
    )


def _text(affine: np.ndarray) -> str:
    return str(np.round(affine[:3], 4).tolist())
