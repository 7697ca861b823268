"""Checks of a DICOM file's pixel data: they match the header, and a decoder for them is installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_attention.data.files import cached_by_file
from hybrid_attention.data.grey import check_size

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


def syntax_fault(header: Dataset) -> str | None:
    """Explain why the pixels of a file can't be decoded.

    Args:
        header: of the file.

    Returns:
        A message, which names the package if one is missing; None if they can be decoded.
    """
    check_size(header.Rows, header.Columns)
    kind, samples = str(header.PhotometricInterpretation), int(header.get("SamplesPerPixel") or 1)
    if kind not in SAMPLES:
        return f"the photometric interpretation {kind!r} can't be read; expected one of {', '.join(SAMPLES)}"
    if samples != SAMPLES[kind]:
        return f"its header states {samples} samples per pixel as {kind}, expected {SAMPLES[kind]}"
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    if syntax is None:
        return "truncated or damaged DICOM file (it has no transfer syntax)"
    if any(syntax.name.startswith(word) for word in _VIDEO):
        return (
            f"it holds a video stream ({syntax.name}), which DICOM libraries don't decode: export the loop from the "
            "device or the archive as a multi-frame image (uncompressed or JPEG), or turn it into one"
        )
    if _has_decoder(syntax):
        return None
    package = next((package for start, package in _DECODERS.items() if syntax.name.startswith(start)), None)
    hint = f"install {package}" if package else "no package for it is known"
    return f"its pixels are compressed as {syntax.name}, and no decoder is installed: {hint}"


def length_fault(path: str | os.PathLike[str], header: Dataset) -> str | None:
    """Explain how the pixel data of a file contradict its header: in length or, if compressed, in number of frames.

    Args:
        path: the file.
        header: of the file.

    Returns:
        A message, or None if they agree or compressed frames can't be counted.
    """
    try:
        length, held = _length_and_frames(Path(path))
    except Exception as error:  # pydicom raises many kinds for a damaged file
        return f"truncated or damaged DICOM file ({error})"
    if length is None:
        return "it has no pixel data"
    frames, kind = max(int(header.get("NumberOfFrames") or 1), 1), str(header.PhotometricInterpretation)
    if header.file_meta.TransferSyntaxUID.is_encapsulated:
        return None if held in (None, frames) else f"its header states {frames} frame(s), its pixel data hold {held}"
    samples = 2 if kind == "YBR_FULL_422" else int(header.get("SamplesPerPixel") or 1)  # two pixels share the colour
    row = int(header.Columns) * samples * int(header.BitsAllocated) // 8
    expected = row * int(header.Rows) * frames
    if expected <= length < expected + max(row, 2):  # less than a row is padding
        return None
    damaged = "truncated or damaged DICOM file: " if length < expected else ""
    return (
        f"{damaged}its pixel data have {length} bytes, but its header states {frames} frame(s) of "
        f"{header.Columns}x{header.Rows} pixels as {kind} with {header.BitsAllocated} bits per sample, {expected} bytes"
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
    except ImportError:
        return _has_handler(syntax)
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _has_handler(syntax: str) -> bool:
    """Do the same with pydicom 2."""
    from pydicom import config

    usable = (handler for handler in config.pixel_data_handlers if handler.is_available())
    return any(handler.supports_transfer_syntax(syntax) for handler in usable)
