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
    """Return one SHA-256, 64 hexadecimal digits, of the contents of files and the numbers of frames (`loop.dcm#3`)."""
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
    """Return 16 hexadecimal digits per case, which identify its `image` under any name or path."""
    return [file_digest([case["image"]])[:16] for case in cases]


def data_digest(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return one digest of the images (`image`) and masks (`label`, a path or several) of all cases."""
    paths: list[str] = []
    for case in cases:
        label = case.get("label", [])
        paths += [case["image"], *([label] if isinstance(label, (str, os.PathLike)) else label)]
    return file_digest(paths)
