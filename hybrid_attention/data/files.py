"""Writing files so that they appear whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hybrid_attention.data.listing import name_fault

_PARTIAL = ".part."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` that is renamed to it when the block succeeds.

    When the block raises, the temporary file is removed and `path` keeps what it held before.

    Args:
        path: the file to write; its folder is made if it is missing.
        durable: wait until the disk holds it, so that it survives a power failure; pictures that a run can write again
            need not.

    Raises:
        OSError: when the folder can't be written or the disk is full; the message names the file and the hint.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_PARTIAL, suffix="." + path.name, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        if durable:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        # mkstemp makes files for their owner alone; give what a plain open() would have given
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _explained(error: OSError, path: Path) -> OSError:
    if error.errno in _FULL:
        return OSError(
            error.errno,
            f"no space left while writing {path} ({error.strerror}); nothing half-written was kept. "
            "Free some space, or write elsewhere (--output_dir or --out), and run again",
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
        return OSError(
            error.errno,
            f"can't write {path} ({error.strerror}); choose a folder you may write to (--output_dir or --out)",
        )
    return error


def prepare_output_folder(path: str | os.PathLike[str]) -> Path:
    """Make an output folder and prove, before any work is done, that files can be written in it.

    Args:
        path: the folder; missing parents are made.

    Returns:
        The folder.

    Raises:
        OSError: when the folder can't be made or written; the message names it and the hint.
        ValueError: its name is not valid UTF-8.
    """
    folder = Path(path)
    fault = name_fault(folder.absolute())
    if fault:
        raise ValueError(fault)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; choose another folder to write to (--output_dir or --out)")
    probe = folder / ".write_test"
    with atomic_path(probe) as temporary:
        temporary.write_bytes(b"")
    probe.unlink(missing_ok=True)
    return folder


def remove_partial_files(folder: str | os.PathLike[str]) -> None:
    """Remove what a killed process left half-written in a folder.

    Args:
        folder: a folder that no other process writes in.
    """
    for path in Path(folder).glob(f"{_PARTIAL}*"):
        path.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write `content` as indented JSON by rename; NaN, which JSON has no word for, becomes null.

    Raises:
        ValueError: `content` holds an infinite number.
    """
    with atomic_path(path) as temporary:
        text = json.dumps(_without_nan(content), indent=2, sort_keys=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def write_csv(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], fieldnames: list[str]) -> None:
    """Write `rows` as a CSV file by rename; floats are written so that they read back unchanged."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=fieldnames, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
