"""Writing files that are whole or not there: by rename, with errors that say what to do."""

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
from threading import Lock
from typing import Any

from hybrid_attention.data.names import name_fault

_PARTIAL = ".part."
_UMASK = Lock()  # it can only be read by setting it
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, whose folder is created, that is renamed to it when the block succeeds.

    When the block raises, the temporary file is removed and `path` keeps its previous content.

    Args:
        path: the file to write.
        durable: wait until the file is on the disk, so that it survives a power failure; False for pictures that a run
            can write again.

    Raises:
        OSError: the folder can't be written or the disk is full; the message names the file and says what to do.
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
        # mkstemp makes files readable by their owner only; restore the permissions of a plain open()
        with _UMASK:
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
            f"no space left while writing {path} ({error.strerror}); no partial file was kept. "
            "Free some space or choose another folder (--output_dir or --out), and run again",
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
        return OSError(
            error.errno,
            f"can't write {path} ({error.strerror}); choose a folder you may write to (--output_dir or --out)",
        )
    return error


def prepare_output_folder(path: str | os.PathLike[str]) -> Path:
    """Create an output folder, with its parents, and check before any work that files can be written in it.

    Raises:
        OSError: the folder can't be created or written; the message names it and says what to do.
        ValueError: its name is not valid UTF-8.
    """
    folder = Path(path)
    fault = name_fault(folder.absolute())
    if fault:
        raise ValueError(fault)
    probe = folder / ".write_test"
    with atomic_path(probe) as temporary:
        temporary.write_bytes(b"")
    probe.unlink(missing_ok=True)
    return folder


def remove_partial_files(folder: str | os.PathLike[str]) -> None:
    """Remove partial files that a killed process left in a folder, in which no other process may be writing."""
    for path in Path(folder).glob(f"{_PARTIAL}*"):
        path.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write `content` as indented JSON by rename; NaN, which JSON lacks, becomes null.

    Raises:
        ValueError: `content` contains an infinite number.
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
    """Write `rows` as a CSV file by rename; floats read back unchanged."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=fieldnames, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
