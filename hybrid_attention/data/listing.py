"""Which files lie below a folder, by one rule for all commands, and how their names compare."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

# thumbnails, recycle bins and caches, beside all that start with a dot (.Trash-1000, .ipynb_checkpoints, ._a.png)
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
    """Tell whether a file or folder is one of the system or another program: hidden, thumbnails, a recycle bin."""
    return name.startswith(".") or name.lower() in _CLUTTER


def is_note(path: Path) -> bool:
    """Tell by its name whether a file is text or a table, which nobody takes for an image or a mask."""
    return path.suffix.lower() in _NOTES


def files_below(root: str | os.PathLike[str]) -> list[Path]:
    """List the files below a folder, without those of `is_clutter`.

    Args:
        root: the folder. Links to folders are followed, each folder once: loops end, and of two ways to a folder the
            one without links counts.

    Returns:
        Paths below `root`, sorted; links to files that are gone, too. None where there is no such folder.

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
    """Return a name so that those which look alike are equal (Unicode's NFC): é in one piece, not e and an accent."""
    return unicodedata.normalize("NFC", name)


def name_fault(path: str | os.PathLike[str]) -> str | None:
    """Say why a path can't be written into tables: its bytes are not UTF-8.

    Returns:
        A message that names the path in characters that any terminal shows, or None for a good one.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        return f"{shown}: the name is not valid UTF-8; rename it"
    return None


def _fail(error: OSError) -> None:
    raise error
