"""Which folder of images a list of runs was started on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.data.files import write_json
from hybrid_attention.data.listing import files_below

_FILE = "data.json"

# the folder of a data set, or several
DatasetDir = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def data_folders(dataset_dir: DatasetDir) -> list[Path]:
    """Return the whole paths of one or several data folders."""
    if isinstance(dataset_dir, (str, os.PathLike)):
        return [Path(dataset_dir).resolve()]
    return [Path(folder).resolve() for folder in dataset_dir]


def folder_identity(folders: Sequence[Path]) -> dict[str, Any]:
    """Return names and sizes of all files of data folders, as one digest, without what `is_clutter` names.

    Args:
        folders: the images.

    Returns:
        `files`, `bytes` and `names_and_sizes_sha256`.

    Raises:
        FileNotFoundError: there is no such folder, or no file in it.
    """
    files: list[tuple[str, int]] = []
    for root in folders:
        inside = sorted(
            (path.relative_to(root).as_posix(), path.stat().st_size) for path in files_below(root) if path.is_file()
        )
        if not inside:
            raise FileNotFoundError(f"data folder {root} does not exist or holds no file")
        files += inside
    text = "\n".join(f"{size} {name}" for name, size in files)
    return {
        "files": len(files),
        "bytes": sum(size for _, size in files),
        "names_and_sizes_sha256": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(),
    }


def check_same_data(results: Path, identity: dict[str, Any]) -> None:
    """Refuse to continue a list on other images than it was started on.

    Args:
        results: folder of the list's results.
        identity: from `folder_identity`.

    Raises:
        ValueError: the folder was started on others.
    """
    path = results / _FILE
    if not path.is_file():
        return
    earlier = json.loads(path.read_text(encoding="utf-8"))
    if earlier != identity:
        raise ValueError(
            f"{results} holds runs on other images ({earlier['files']} files, {earlier['bytes']} bytes) than those of "
            f"--dataset_dir ({identity['files']} files, {identity['bytes']} bytes): choose another --out"
        )


def note_data(results: Path, identity: dict[str, Any]) -> None:
    """Write down which images a list is run on.

    Args:
        results: folder of the list's results.
        identity: from `folder_identity`.
    """
    if not (results / _FILE).is_file():
        write_json(results / _FILE, identity)
