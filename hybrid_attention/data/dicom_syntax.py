"""Whether the pixels of a DICOM file can be decoded here, and what to install or do when they can't."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

_VIDEO = ("MPEG", "HEVC")
_DECODERS = {
    "JPEG-LS": "pyjpegls",
    "JPEG 2000": "pillow",
    "High-Throughput JPEG 2000": "pylibjpeg pylibjpeg-openjpeg",
    "JPEG Baseline": "pillow",
    "JPEG": "pylibjpeg pylibjpeg-libjpeg",
    "RLE": "pydicom>=3",
}


def syntax_fault(header: Dataset) -> str | None:
    """Say why the pixels of a file can't be decoded.

    Args:
        header: of the file.

    Returns:
        A message, or None where a decoder is installed; it names the package that is missing.
    """
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
    cure = f"install {package}" if package else "no package for it is known here"
    return f"its pixels are compressed as {syntax.name}, and no decoder is installed: {cure}"


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
    """Do the same for pydicom 2."""
    from pydicom import config

    usable = (handler for handler in config.pixel_data_handlers if handler.is_available())
    return any(handler.supports_transfer_syntax(syntax) for handler in usable)
