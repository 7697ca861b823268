"""Runs as the command line names them: FOLDER or NAME=FOLDER."""

from __future__ import annotations

import os
from pathlib import Path


def name_and_place(run: str | os.PathLike[str]) -> tuple[str, str]:
    """Take `NAME=FOLDER` apart.

    Args:
        run: as given. A folder or file whose own name holds "=" is that, and no name.

    Returns:
        The name, empty where none is given, and the folder.

    Raises:
        ValueError: the name or the folder is empty.
    """
    text = os.fspath(run)
    if "=" not in text or Path(text).exists():
        return "", text
    name, _, place = text.partition("=")
    if not name.strip() or not place:
        raise ValueError(f"a run is FOLDER or NAME=FOLDER, got {text!r}")
    return name.strip(), place
