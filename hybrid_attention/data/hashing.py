"""Digests that identify the images a run has seen."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.data.dicom import split_frame
from hybrid_attention.data.files import cached_by_file


def file_digest(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Return one SHA-256 of the contents of files, in the given order.

    Args:
        paths: the files; for a frame of a DICOM file, `loop.dcm#3`, its number is included.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in paths:
        file, frame = split_frame(path)
        digest.update(_digest(file))
        if frame is not None:
            digest.update(f"#{frame}".encode())
    return digest.hexdigest()


@cached_by_file(100_000)
def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


def case_digests(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a digest of each case's image, which identifies it under any name or path.

    Args:
        cases: dicts with the path `image`.

    Returns:
        16 hexadecimal digits per case, in order.
    """
    return [file_digest([case["image"]])[:16] for case in cases]


def data_digest(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return one digest of the images and masks of all cases.

    Args:
        cases: dicts with the path `image` and the path or paths `label`.

    Returns:
        64 hexadecimal digits.
    """
    paths: list[str] = []
    for case in cases:
        label = case.get("label", [])
        paths += [case["image"], *([label] if isinstance(label, (str, os.PathLike)) else label)]
    return file_digest(paths)
