"""Files: listing those below a folder, tables that people edit, and writing that leaves no partial files."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import json
import math
import os
import tempfile
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

# of pictures, by which they are known
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".pgm", ".ppm")

_PARTIAL = ".part."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` that is renamed to it when the block succeeds.

    When the block raises, the temporary file is removed and `path` keeps its previous content.

    Args:
        path: the file to write; its folder is created if it is missing.
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
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; choose another folder to write to (--output_dir or --out)")
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


def read_table(path: str | os.PathLike[str], columns: Collection[str] = ()) -> list[tuple[str, dict[str, str]]]:
    """Read a CSV file with a header.

    Args:
        path: file in UTF-8, UTF-16 (with a byte-order mark) or cp1252 (Windows), with cells separated by commas,
            semicolons or tabs. Empty lines are skipped.
        columns: required columns; others are allowed.

    Returns:
        For each row its position ("FILE, line 2") and its cells by column.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a CSV file, lacks a column, or a line has more or fewer cells than the header.
    """
    content = Path(path).read_bytes()
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    if "\0" in text or "\ufffd" in text:
        raise ValueError(f"{path} is not a CSV file; save it as one, in UTF-8")
    first = text.splitlines()[:1]
    separator = max(",;\t", key=lambda sign: len(next(csv.reader(first, delimiter=sign), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [(f"{path}, line {reader.line_num}", cells) for cells in reader if any(cells)]
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None
    header = [name.strip() for name in rows[0][1]] if rows else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(header) or 'none'}")
    for place, cells in rows:
        if len(cells) != len(header):
            raise ValueError(f"{place}: {len(cells)} cells, but the header has {len(header)}")
    return [(place, dict(zip(header, cells, strict=True))) for place, cells in rows[1:]]


# thumbnails, recycle bins and caches, besides names that start with a dot (.Trash-1000, .ipynb_checkpoints, ._a.png)
_CLUTTER = {
    "$recycle.bin",
    "#recycle",
    "#snapshot",
    "@eadir",
    "@recycle",
    "@tmp",
    "__macosx",
    "__pycache__",
    "desktop.ini",
    "lost+found",
    "recycler",
    "system volume information",
    "thumbs.db",
}
_NOTES = {
    *(".csv", ".docx", ".htm", ".html", ".json", ".log", ".md", ".ods", ".pdf", ".rtf", ".tsv", ".txt"),
    *(".xls", ".xlsx", ".xml", ".yaml", ".yml"),
}


def is_clutter(name: str) -> bool:
    """Return whether a file or folder belongs to the system or another program: hidden, thumbnails, a recycle bin."""
    return name.startswith(".") or name.lower() in _CLUTTER


def is_note(path: Path) -> bool:
    """Return whether a file is text or a table, by its name, and so neither an image nor a mask."""
    return path.suffix.lower() in _NOTES


def files_below(root: str | os.PathLike[str]) -> list[Path]:
    """List the files below a folder, except those of `is_clutter`.

    Args:
        root: the folder. Links to folders are followed, but each folder is listed once, by its path without links if
            it has one.

    Returns:
        Sorted paths below `root`, including broken links to files; empty if the folder does not exist.

    Raises:
        OSError: a folder can't be read.
    """
    left = [Path(root)] if Path(root).is_dir() else []
    seen = {str(folder) for folder in Path(os.path.realpath(root)).parents}  # a link upward is a loop
    files: list[Path] = []
    while left:
        for place, folders, names in os.walk(left.pop(0), onerror=_fail):
            if os.path.realpath(place) in seen:
                folders.clear()
                continue
            seen.add(os.path.realpath(place))
            folders[:] = sorted(name for name in folders if not is_clutter(name))
            left += [Path(place, name) for name in folders if os.path.islink(os.path.join(place, name))]
            files += [Path(place, name) for name in names if not is_clutter(name)]
    return sorted(files)


def same_name(name: str) -> str:
    """Return a name in Unicode's NFC, so that names that look alike are equal: é as one character, not two."""
    return unicodedata.normalize("NFC", name)


def name_fault(path: str | os.PathLike[str]) -> str | None:
    """Explain, in characters of any terminal, why a path can't be written into tables: its bytes are not UTF-8."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        return f"{shown}: the name is not valid UTF-8; rename it"
    return None


def _fail(error: OSError) -> None:
    raise error


def cached_by_file(size: int) -> Callable[[Callable[[Path], Result]], Callable[[Path], Result]]:
    """Decorate a function of a file: its last `size` results are kept, each until the file changes."""

    def decorate(function: Callable[[Path], Result]) -> Callable[[Path], Result]:
        @lru_cache(size)
        def kept(path: Path, changed: int, length: int) -> Result:
            return function(path)

        @wraps(function)
        def call(path: Path) -> Result:
            if not path.is_file():
                return function(path)  # which says so
            status = path.stat()
            return kept(path, status.st_mtime_ns, status.st_size)

        return call

    return decorate


def how_to_install(extra: str) -> str:
    """Return how to install the packages of an extra, for the end of an error message."""
    return f"pip install '.[{extra}]' in a checkout of hybrid_attention"
