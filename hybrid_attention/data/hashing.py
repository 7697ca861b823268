"""The content of files: checks, results kept until a file changes, and digests that identify images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

from hybrid_attention.data.names import split_frame

Result = TypeVar("Result")


def check_file(file: Path) -> None:
    """Raise a ValueError, which does not name the file, if there is none or it is empty."""
    if file.is_dir():
        raise ValueError("it is a folder, not an image")
    if not file.is_file():
        target = f": it is a link to {os.readlink(file)}" if file.is_symlink() else ""
        raise ValueError(f"the file does not exist{target}")
    if file.stat().st_size == 0:
        raise ValueError("the file has zero bytes")


def cached_by_file(size: int) -> Callable[[Callable[[Path], Result]], Callable[[Path], Result]]:
    """Decorate a function of a file, or a frame of one: its last `size` results are kept until the file changes."""

    def decorate(function: Callable[[Path], Result]) -> Callable[[Path], Result]:
        @lru_cache(size)
        def kept(path: Path, changed: int, length: int) -> Result:
            return function(path)

        @wraps(function)
        def call(path: Path) -> Result:
            file, _ = split_frame(path)
            if not file.is_file():
                return function(path)  # which says so
            status = file.stat()
            return kept(path, status.st_mtime_ns, status.st_size)

        return call

    return decorate


@cached_by_file(100_000)
def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


def file_digest(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of the contents of files and the numbers of frames (`loop.dcm#3`)."""
    digest = hashlib.sha256()
    for path in paths:
        file, frame = split_frame(path)
        digest.update(_digest(file))
        if frame is not None:
            digest.update(f"#{frame}".encode())
    return digest.hexdigest()


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
