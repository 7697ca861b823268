"""What a folder contains: its images, frames of loops and masks, and the list of images to predict on."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.data.cases import DataError, inspect_cases, raise_if_invalid
from hybrid_attention.data.dicom import NoPictureError
from hybrid_attention.data.dicom_pixels import frame_paths
from hybrid_attention.data.names import (
    ALL_SUFFIXES,
    PREDICTIONS,
    VIDEO_SUFFIXES,
    is_clutter,
    is_dicom,
    is_image,
    is_note,
    is_video,
    mask_owner,
    name_fault,
    natural_order,
    same_name,
    strip_suffix,
)
from hybrid_attention.data.video import video_frame_paths

_NAMED = 20  # files in a warning

logger = logging.getLogger(__name__)


def files_below(root: str | os.PathLike[str]) -> list[Path]:
    """List the files below a folder, sorted, except those of `is_clutter`; none if it does not exist.

    Links to folders are followed, but each folder is listed once, by its path without links if it has one. Broken links
    to files are listed. A folder that can't be read is an OSError.
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


def _fail(error: OSError) -> None:
    raise error


def image_files(files: Iterable[Path], videos: bool = False) -> list[Path]:
    """Return those of `files` that are images (or videos), and not masks by their names; the others are logged.

    All names that are not UTF-8 are listed in a DataError.
    """
    files = list(files)
    raise_if_invalid([fault for path in files if (fault := name_fault(path))], len(files), "rename them")
    candidates = [path for path in files if mask_owner(path) is None]
    images = [path for path in candidates if is_image(path) or (videos and is_video(path))]
    others = sorted({*candidates} - {*images})
    log_left_out([path for path in others if not is_note(path)], "not an image of a supported format")
    return images


def log_left_out(files: Sequence[Path], reason: str) -> None:
    """Log skipped files in one warning, with the names of the first ones."""
    if files:
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        names = ", ".join(map(str, files[:_NAMED]))
        logger.warning("%d files are skipped (%s): %s%s", len(files), reason, names, more)


def loop_frames(file: str | os.PathLike[str], frames: str | Sequence[int] = "all") -> list[str]:
    """List the frames of a video or a DICOM file; of another file, itself; see `frame_paths`, `video_frame_paths`."""
    if is_dicom(file):
        return frame_paths(file, frames)
    return video_frame_paths(file, frames) if is_video(file) else [str(file)]


def expand_frames(
    files: Iterable[Path], frames: str | Sequence[int] = "all", alone: bool = False
) -> tuple[list[Path], list[str]]:
    """List the images in files by `loop_frames`, and problems, one line per file.

    A DICOM file that is not an image is a problem if it is `alone`, else it is skipped and logged; so are videos if
    PyAV is missing.
    """
    images: list[Path] = []
    problems: list[str] = []
    for file in files:
        try:
            images += map(Path, loop_frames(file, frames))
        except (ImportError, ValueError) as error:
            missing = isinstance(error, ImportError)
            if missing and (alone or not is_video(file)):
                raise
            if missing or (isinstance(error, NoPictureError) and not alone):
                logger.warning("%s is skipped: %s", file, error)
            else:
                problems.append(f"{file}: {error}")
    return images, problems


def find_masks(image: str | os.PathLike[str]) -> list[Path]:
    """Find the mask files of an image: `NAME_mask.EXT` and `NAME_mask_<n>.EXT` beside it, sorted by number.

    The masks of `a.nii.gz` are `a_mask.EXT`, those of the frame `loop.dcm#3` are `loop#3_mask.EXT`. Files of
    unsupported formats are included, since the ground truth would be incomplete without them.
    """
    image = Path(image)
    stem = same_name(strip_suffix(image.name))
    return _masks_by_owner(image.parent, stem).get(stem, [])


def find_all_masks(images: Sequence[Path]) -> list[list[Path]]:
    """Find the mask files of many images, as `find_masks` does; each folder is listed once."""
    folders = {folder: _masks_by_owner(folder) for folder in {image.parent for image in images}}
    return [folders[image.parent].get(same_name(strip_suffix(image.name)), []) for image in images]


def _masks_by_owner(folder: Path, start: str = "") -> dict[str, list[Path]]:
    masks: dict[str, list[Path]] = {}
    names = [name for name in os.listdir(folder) if same_name(name).startswith(start) and not is_clutter(name)]
    for path in sorted(map(folder.joinpath, names), key=natural_order):
        owner = mask_owner(path)
        if owner is not None and not (is_note(path) or path.is_dir()):
            masks.setdefault(owner, []).append(path)
    return masks


def image_datalist(
    source: str | os.PathLike[str], results: str | os.PathLike[str] | None = None, frames: str | Sequence[int] = "all"
) -> list[dict[str, Any]]:
    """List an image, or all images below a folder, for inference.

    Masks named as in BUSI (`NAME_mask.png`) are checked with their image and never taken for images. Each frame of a
    video or a multi-frame DICOM file is a case, `NAME.dcm#1` and so on. DICOM files that are not images (reports,
    segmentations) and folders below `source` with results of another inference run are skipped and logged.

    Args:
        source: an image file, or a folder that is searched with its subfolders.
        results: the folder for the results; if it lies below `source` it is not searched.
        frames: of videos and multi-frame DICOM files: "all", "middle", or a list of numbers counted from 1.

    Returns:
        Dicts with `case_id` (path relative to the folder), `image` and `source` (both the path, with the frame's
        number: transforms replace the first with an array).

    Raises:
        ValueError: `results` is the folder of the images, where predicted masks would later pass for ground truth.
        ImportError: pydicom is missing for a DICOM file, or PyAV for a video that is the `source`.
        DataError: no images, two images whose results would have the same name, or unreadable files; all are listed.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist; give an image or a folder of images")
    alone = source.is_file()
    root = source.parent if alone else source
    files = [source] if alone else files_below(source)
    if results is not None:
        target = Path(results).resolve()
        if target == root.resolve():
            raise ValueError(
                f"{source} can't receive its own results, which would pass for ground truth: choose another folder"
            )
        if root.resolve() in target.parents:
            files = [path for path in files if target not in path.resolve().parents]
    for folder in {path.parent for path in files if path.name == PREDICTIONS} - {root}:
        logger.warning("%s is skipped: it contains results (%s), not images", folder, PREDICTIONS)
        files = [path for path in files if folder not in path.parents]
    if not alone or mask_owner(source) is not None:
        files = image_files(files, videos=True)  # a file on its own may have any name
    if not files:
        raise DataError(
            f"no image ({', '.join((*ALL_SUFFIXES, *VIDEO_SUFFIXES))}) in {source}; masks (*_mask*.png) don't count"
        )
    images, problems = expand_frames(files, frames, alone)
    cases: list[dict[str, Any]] = []
    owners: dict[str, Path] = {}
    for image in images:
        key = image.relative_to(root).as_posix()
        owner = owners.setdefault(same_name(strip_suffix(key)), image)
        if owner != image:
            problems.append(f"{image}: its results would overwrite those of {owner}; rename one")
        cases.append({"case_id": key, "image": str(image), "source": str(image)})
    masked = [{**case, "label": masks} for case, masks in zip(cases, find_all_masks(images), strict=True)]
    # frames of a video were read when they were listed
    more, _ = inspect_cases([case for case in masked if case["label"] or not is_video(case["image"])])
    raise_if_invalid(problems + more, len(files), "repair or remove these files")
    if not cases:
        raise DataError(f"no image in {source}: its DICOM files are not images")
    return cases
