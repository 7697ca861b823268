"""Names of files: formats, frames of loops, masks, results, and files of other programs."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".pgm", ".ppm")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv")
ALL_SUFFIXES = (*PICTURE_SUFFIXES, *NIFTI_SUFFIXES, *DICOM_SUFFIXES)

# the table that an inference run writes into the folder of its results
PREDICTIONS = "predictions.csv"

PREAMBLE = 128  # bytes of a DICOM file before the letters DICM
_NUMBERED = re.compile(r"^(.+)#(\d+)$", re.DOTALL)
_MASK = re.compile(r"(.+)_mask(?:_\d+)?$", re.DOTALL)
# thumbnails, recycle bins and caches, besides names that start with a dot (.Trash-1000, .ipynb_checkpoints, ._a.png)
_CLUTTER = {
    *("$recycle.bin", "#recycle", "#snapshot", "@eadir", "@recycle", "@tmp", "__macosx", "__pycache__"),
    *("desktop.ini", "lost+found", "recycler", "system volume information", "thumbs.db"),
}
_NOTES = {
    *(".csv", ".docx", ".htm", ".html", ".json", ".log", ".md", ".ods", ".pdf", ".rtf", ".tsv", ".txt"),
    *(".xls", ".xlsx", ".xml", ".yaml", ".yml"),
}


def split_frame(path: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """Split the name of a frame, `cine.dcm#3`, into the file and the number, counted from 1; None if it has none."""
    match = _NUMBERED.match(str(path))
    if match is None or os.path.exists(path):
        return Path(path), None
    return Path(match[1]), int(match[2])


def strip_suffix(name: str) -> str:
    """Return `name` without its image suffix (`.nii.gz` counts as one): `cine.dcm#3` gives `cine#3`."""
    match = _NUMBERED.match(name)
    stem, number = (match[1], "#" + match[2]) if match else (name, "")
    for suffix in (".nii.gz", *ALL_SUFFIXES, *VIDEO_SUFFIXES):
        if stem.lower().endswith(suffix):
            return stem[: -len(suffix)] + number
    return name


def is_nifti(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is NIfTI, by its name."""
    return str(path).lower().endswith(NIFTI_SUFFIXES)


def is_video(path: str | os.PathLike[str]) -> bool:
    """Return whether a file, or the file of a frame, is a video, by its name."""
    return split_frame(path)[0].name.lower().endswith(VIDEO_SUFFIXES)


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Return whether a file, or the file of a frame, is DICOM, by its name or its first bytes."""
    file, _ = split_frame(path)
    if file.name.upper() == "DICOMDIR" or file.name.lower().endswith(PICTURE_SUFFIXES):
        return False
    if file.name.lower().endswith(DICOM_SUFFIXES):
        return True
    try:
        with open(file, "rb") as opened:
            return opened.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
    except OSError:
        return False


def is_image(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a supported image: by its name, or by its first bytes for DICOM without a suffix.

    Of a video the frames are images (`clip.mp4#3`), not the file.
    """
    if str(path).lower().endswith(PICTURE_SUFFIXES) or is_nifti(path) or is_dicom(path):
        return True
    return is_video(path) and split_frame(path)[1] is not None


def mask_owner(path: str | os.PathLike[str]) -> str | None:
    """Return the stem of the image that a mask belongs to: "benign (4)" for "benign (4)_mask_1.png".

    It is normalised by `same_name`; None if the name is not that of a mask.
    """
    name = Path(path).name
    match = _MASK.match(strip_suffix(name)) or _MASK.match(Path(name).stem)  # whatever the suffix
    return same_name(match[1]) if match else None


def result_path(folder: str | os.PathLike[str], case_id: str, what: str, suffix: str = ".png") -> Path:
    """Return where an inference run writes a result: `FOLDER/a/b_overlay.png` for the overlay of `a/b.nii.gz`."""
    stem = Path(folder) / strip_suffix(case_id)
    return stem.with_name(f"{stem.name}_{what}{suffix}")


def natural_order(path: Path) -> tuple[int | str, ...]:
    """Return a sorting key that orders names as people do: "benign (2)" before "benign (10)"."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name))


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


def is_clutter(name: str) -> bool:
    """Return whether a file or folder belongs to the system or another program: hidden, thumbnails, a recycle bin."""
    return name.startswith(".") or name.lower() in _CLUTTER


def is_note(path: Path) -> bool:
    """Return whether a file is text or a table, by its name, and so neither an image nor a mask."""
    return path.suffix.lower() in _NOTES


def how_to_install(extra: str) -> str:
    """Return how to install the packages of an extra, for the end of an error message."""
    return f"pip install '.[{extra}]' in a checkout of hybrid_attention"
