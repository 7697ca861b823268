"""Grey planes of DICOM files of any photometric interpretation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hybrid_attention.data.dicom import frame_count, frame_geometry, numbers, read_header, split_frame
from hybrid_attention.data.dicom_syntax import SAMPLES, length_fault, syntax_fault
from hybrid_attention.data.grey import luma
from PIL import Image

if TYPE_CHECKING:
    from pydicom import Dataset

_WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def read_dicom_grey(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the tissue of one frame of a DICOM file as a grey plane.

    The modality and VOI transformations of the file (rescale, window, tables) are applied to monochrome pixels, and
    MONOCHROME1 is inverted, so that bright is always bright. An empty or invalid value (not a number, a slope of 0, a
    window narrower than its function allows) counts as absent. Padding (Pixel Padding Value, with its range) becomes
    as dark as the darkest other pixel. Colours become luma (ITU-R 601-2), as in other image formats.

    Args:
        path: a file with one frame, or a frame, `cine.dcm#3`.

    Returns:
        float32 array of shape (H, W), the box of `frame_geometry`.

    Raises:
        ValueError: the file is not DICOM, is damaged, a video, of an unknown photometric interpretation, without
            pixels, with pixels that contradict the header, with several frames of which none is named, or compressed
            in a way that needs a missing package (which is named). The message does not name the file.
        ImportError: pydicom is missing.
    """
    file, number = split_frame(path)
    header = read_header(file)
    count = frame_count(header)
    if number is None and count > 1:
        raise ValueError(f"it has {count} frames: name one, {file.name}#1 to {file.name}#{count}")
    if number is not None and not 1 <= number <= count:
        raise ValueError(f"frame {number} does not exist: the file has {count}, counted from 1")
    pixels = _decoded(file, header, (number or 1) - 1)
    kind = str(header.PhotometricInterpretation)
    shape = (int(header.Rows), int(header.Columns), *((3,) if SAMPLES[kind] == 3 else ()))
    if pixels.shape != shape:
        raise ValueError(f"its pixels are of shape {pixels.shape}; as {kind}, a frame would be of shape {shape}")
    try:
        grey = _monochrome(pixels, header) if kind.startswith("MONOCHROME") else _luma(pixels, header)
    except Exception as error:  # tables and windows that contradict themselves
        raise ValueError(f"damaged DICOM file ({error})") from None
    return np.ascontiguousarray(grey[frame_geometry(header).part], dtype=np.float32)


def _decoded(file: Path, header: Dataset, index: int) -> np.ndarray:
    """Return a frame as stored, (H, W) or (H, W, 3), with YBR turned into RGB."""
    fault = syntax_fault(header) or length_fault(file, header)
    if fault is not None:
        raise ValueError(fault)
    try:
        return _frame(file, header, index)
    except Exception as error:  # pydicom and the decoders raise many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"truncated or damaged DICOM file ({reason})") from None


def _frame(file: Path, header: Dataset, index: int) -> np.ndarray:
    try:
        from pydicom.pixels import pixel_array
    except ImportError:  # pydicom 2
        return _frame_of_pydicom_2(file, index)
    if not header.file_meta.TransferSyntaxUID.is_deflated:
        return pixel_array(file, index=index)  # reads this frame alone
    from pydicom import dcmread

    return pixel_array(dcmread(file), index=index)


def _frame_of_pydicom_2(file: Path, index: int) -> np.ndarray:
    from pydicom import dcmread
    from pydicom.pixel_data_handlers.util import convert_color_space

    dataset = dcmread(file)
    pixels = dataset.pixel_array
    if frame_count(dataset) > 1:
        pixels = pixels[index]
    if dataset.PhotometricInterpretation.startswith("YBR_FULL"):
        pixels = convert_color_space(pixels, dataset.PhotometricInterpretation, "RGB")
    return pixels


def _processing() -> Any:
    """Return the module of pydicom that applies tables and windows."""
    try:
        import pydicom.pixels
    except ImportError:  # pydicom 2
        from pydicom.pixel_data_handlers import util

        return util
    return pydicom.pixels


def _monochrome(pixels: np.ndarray, header: Dataset) -> np.ndarray:
    padding = _padding(pixels, header)
    _drop_invalid(header)
    grey = _bright_is_bright(pixels, header)
    if padding.any() and not padding.all():
        grey[padding] = grey[~padding].min()
    return grey


def _padding(pixels: np.ndarray, header: Dataset) -> np.ndarray:
    """Return which of the stored pixels are padding."""
    values = numbers(header, "PixelPaddingValue")
    ends = [*values, *numbers(header, "PixelPaddingRangeLimit")]
    return (pixels >= min(ends)) & (pixels <= max(ends)) if values else np.zeros(pixels.shape, bool)


def _drop_invalid(header: Dataset) -> None:
    """Remove values that pydicom can't compute with, as viewers do."""
    slope, intercept = numbers(header, "RescaleSlope"), numbers(header, "RescaleIntercept")
    if slope not in ([], [0.0]) or intercept:
        header.RescaleSlope = slope[0] if slope not in ([], [0.0]) else 1
        header.RescaleIntercept = intercept[0] if intercept else 0
    elif "RescaleSlope" in header:
        del header.RescaleSlope
    if header.get("VOILUTFunction", "LINEAR") not in _WINDOW_FUNCTIONS:
        del header.VOILUTFunction
    centres, widths = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    linear = header.get("VOILUTFunction", "LINEAR") == "LINEAR"
    if not centres or not widths or widths[0] <= 0 or (linear and widths[0] < 1):
        for keyword in ("WindowCenter", "WindowWidth"):
            if keyword in header:
                delattr(header, keyword)


def _bright_is_bright(pixels: np.ndarray, header: Dataset) -> np.ndarray:
    """Apply the transformations to stored pixels, and invert MONOCHROME1."""
    processing = _processing()
    grey = processing.apply_voi_lut(processing.apply_modality_lut(pixels, header), header).astype(np.float64)
    if header.PhotometricInterpretation == "MONOCHROME2":
        return grey
    tables = header.get("VOILUTSequence") or header.get("ModalityLUTSequence")
    if tables:
        return 2.0 ** tables[0].LUTDescriptor[2] - 1 - grey
    bits, signed = int(header.BitsStored), int(header.get("PixelRepresentation") or 0)
    stored = np.asarray([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    return processing.apply_modality_lut(stored, header).sum() - grey


def _luma(pixels: np.ndarray, header: Dataset) -> np.ndarray:
    if header.PhotometricInterpretation == "PALETTE COLOR":
        pixels = _processing().apply_color_lut(pixels, header)
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).convert("L"))
    return luma(pixels)
