"""Grey planes of DICOM files of any photometric interpretation, and checks that their pixels can be read."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hybrid_attention.data.dicom import chosen_frames, frame_count, frame_geometry, numbers, read_header
from hybrid_attention.data.grey import check_size, luma
from hybrid_attention.data.hashing import cached_by_file
from hybrid_attention.data.names import split_frame
from PIL import Image

if TYPE_CHECKING:
    from pydicom import Dataset

# photometric interpretations, and their samples per pixel
SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3),
}
_VIDEO = ("MPEG", "HEVC")
_ITEM = b"\xfe\xff\x00\xe0"
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP")  # of JPEG and JPEG-LS, JPEG 2000, JP2
_DECODERS = {
    "JPEG-LS": "pyjpegls",
    "JPEG 2000": "pillow",
    "High-Throughput JPEG 2000": "pylibjpeg pylibjpeg-openjpeg",
    "JPEG Baseline": "pillow",
    "JPEG": "pylibjpeg pylibjpeg-libjpeg",
    "RLE": "pydicom>=3",
}
_ULTRASOUND = ("US", "IVUS")
_WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")

logger = logging.getLogger(__name__)


def frame_paths(path: str | os.PathLike[str], frames: str | Sequence[int] = "all") -> list[str]:
    """List the frames of a DICOM file, `path#1`, `path#2` and so on (just `path` if it has one); see `chosen_frames`.

    Raises:
        ValueError: the file lacks a frame, no decoder for its pixels is installed, or they contradict the header. Also
            the errors of `read_header`.
    """
    header = read_header(path)
    _check_pixels(Path(path), header)
    modality = header.get("Modality")
    if modality not in _ULTRASOUND:
        logger.warning("%s: its modality is %s, not ultrasound (US); it is read anyway", path, modality or "not given")
    count = frame_count(header)
    return [str(path)] if count == 1 else [f"{path}#{number}" for number in chosen_frames(frames, count)]


def read_dicom_grey(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the tissue of one frame of a DICOM file as a grey plane, (H, W), float32.

    The modality and VOI transformations of the file (rescale, window, tables) are applied to monochrome pixels, and
    MONOCHROME1 is inverted, so that bright is always bright. An empty or invalid value (not a number, a slope of 0, a
    window narrower than its function allows) counts as absent. Padding (Pixel Padding Value, with its range) becomes
    as dark as the darkest other pixel. Colours become luma (ITU-R 601-2), as in other image formats.

    Raises:
        ValueError: the file can't be read, or has several frames and `path` does not say which. The message does not
            name the file.
    """
    file, number = split_frame(path)
    header = read_header(file)
    count = frame_count(header)
    if number is None and count > 1:
        raise ValueError(f"it has {count} frames: name one, {file.name}#1 to {file.name}#{count}")
    if number is not None and not 1 <= number <= count:
        raise ValueError(f"frame {number} does not exist: the file has {count}, counted from 1")
    _check_pixels(file, header)
    try:
        pixels = _frame(file, header, (number or 1) - 1)
    except Exception as error:  # pydicom and the decoders raise many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"truncated or damaged DICOM file ({reason})") from None
    kind = str(header.PhotometricInterpretation)
    shape = (int(header.Rows), int(header.Columns), *((3,) if SAMPLES[kind] == 3 else ()))
    if pixels.shape != shape:
        raise ValueError(f"its pixels are of shape {pixels.shape}; as {kind}, a frame would be of shape {shape}")
    try:
        grey = _monochrome(pixels, header) if kind.startswith("MONOCHROME") else _luma(pixels, header)
    except Exception as error:  # tables and windows that contradict themselves
        raise ValueError(f"damaged DICOM file ({error})") from None
    return np.ascontiguousarray(grey[frame_geometry(header).part], dtype=np.float32)


def _frame(file: Path, header: Dataset, index: int) -> np.ndarray:
    """Return a frame as stored, (H, W) or (H, W, 3), with YBR turned into RGB."""
    from pydicom import dcmread

    try:
        from pydicom.pixels import pixel_array
    except ImportError:  # pydicom 2
        from pydicom.pixel_data_handlers.util import convert_color_space

        pixels, kind = dcmread(file).pixel_array, header.PhotometricInterpretation
        pixels = pixels[index] if frame_count(header) > 1 else pixels
        return convert_color_space(pixels, kind, "RGB") if kind.startswith("YBR_FULL") else pixels
    # of a path it reads this frame alone
    return pixel_array(dcmread(file) if header.file_meta.TransferSyntaxUID.is_deflated else file, index=index)


def _processing() -> Any:
    """Return the module of pydicom that applies tables and windows."""
    try:
        import pydicom.pixels
    except ImportError:  # pydicom 2
        from pydicom.pixel_data_handlers import util

        return util
    return pydicom.pixels


def _monochrome(pixels: np.ndarray, header: Dataset) -> np.ndarray:
    _drop_invalid(header)
    grey = _bright_is_bright(pixels, header)
    values = numbers(header, "PixelPaddingValue")
    if values:
        ends = [*values, *numbers(header, "PixelPaddingRangeLimit")]
        padding = (pixels >= min(ends)) & (pixels <= max(ends))
        grey[padding] = grey.min(where=~padding, initial=grey.max())
    return grey


def _drop_invalid(header: Dataset) -> None:
    """Remove values that pydicom can't compute with, as viewers do."""
    slope, intercept = numbers(header, "RescaleSlope"), numbers(header, "RescaleIntercept")
    if "RescaleSlope" in header or intercept:
        header.RescaleSlope = (slope and slope[0]) or 1
        header.RescaleIntercept = intercept[0] if intercept else 0
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


def _check_pixels(path: Path, header: Dataset) -> None:
    """Raise a ValueError if pixels can't be decoded, naming a missing package, or contradict their header."""
    check_size(header.Rows, header.Columns)
    kind, samples = str(header.PhotometricInterpretation), int(header.get("SamplesPerPixel") or 1)
    if kind not in SAMPLES:
        raise ValueError(f"the photometric interpretation {kind!r} can't be read; expected one of {', '.join(SAMPLES)}")
    if samples != SAMPLES[kind]:
        raise ValueError(f"its header states {samples} samples per pixel as {kind}, expected {SAMPLES[kind]}")
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    if syntax is None:
        raise ValueError("truncated or damaged DICOM file (it has no transfer syntax)")
    if syntax.name.startswith(_VIDEO):
        raise ValueError(
            f"it holds a video stream ({syntax.name}), which DICOM libraries don't decode: export the loop from the "
            "device or the archive as a multi-frame image (uncompressed or JPEG), or turn it into one"
        )
    if not _has_decoder(syntax):
        package = next((package for start, package in _DECODERS.items() if syntax.name.startswith(start)), None)
        hint = f"install {package}" if package else "no package for it is known"
        raise ValueError(f"its pixels are compressed as {syntax.name}, and no decoder is installed: {hint}")
    try:
        length, held = _length_and_frames(path)
    except Exception as error:  # pydicom raises many kinds for a damaged file
        raise ValueError(f"truncated or damaged DICOM file ({error})") from None
    frames = frame_count(header)
    if length is None:
        raise ValueError("it has no pixel data")
    if syntax.is_encapsulated:
        if held not in (None, frames):
            raise ValueError(f"its header states {frames} frame(s), its pixel data hold {held}")
        return
    stored = 2 if kind == "YBR_FULL_422" else samples  # two pixels share the colour
    row = int(header.Columns) * stored * int(header.BitsAllocated) // 8
    expected = row * int(header.Rows) * frames
    if not expected <= length < expected + max(row, 2):  # less than a row is padding
        damaged = "truncated or damaged DICOM file: " if length < expected else ""
        raise ValueError(
            f"{damaged}its pixel data have {length} bytes, but its header states {frames} frame(s) of "
            f"{header.Columns}x{header.Rows} pixels as {kind} with {header.BitsAllocated} bits per sample, "
            f"{expected} bytes"
        )


@cached_by_file(64)  # called once per frame of a loop
def _length_and_frames(path: Path) -> tuple[int | None, int | None]:
    """Return the bytes of pixel data and, if they are compressed and can be counted, the number of frames."""
    from pydicom import dcmread

    stored = dcmread(path, specific_tags=["PixelData"])
    if "PixelData" not in stored:
        return None, None
    content, syntax = stored.PixelData, stored.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return len(content), None
    fragments = _fragments(content)[1:]  # the first is the table of offsets, often empty
    if syntax.name.startswith("RLE"):
        return len(content), len(fragments)
    return len(content), sum(fragment.startswith(_STARTS) for fragment in fragments) or None


def _fragments(content: bytes) -> list[bytes]:
    """Return the items of encapsulated pixel data."""
    found, place = [], 0
    while content[place : place + 4] == _ITEM:
        start, length = place + 8, int.from_bytes(content[place + 4 : place + 8], "little")
        found.append(content[start : start + length])
        place = start + length
    return found


def _has_decoder(syntax: str) -> bool:
    try:
        from pydicom.pixels import get_decoder
    except ImportError:  # pydicom 2
        from pydicom import config

        usable = (handler for handler in config.pixel_data_handlers if handler.is_available())
        return any(handler.supports_transfer_syntax(syntax) for handler in usable)
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False
