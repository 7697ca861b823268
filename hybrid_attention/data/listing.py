"""Any folder of images to predict on, with or without ground truth."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.data.checks import DataError, inspect_cases, raise_if_invalid
from hybrid_attention.data.dicom import NoPictureError, is_dicom
from hybrid_attention.data.dicom_pixels import frame_paths
from hybrid_attention.data.files import files_below, is_note, name_fault, same_name
from hybrid_attention.data.images import ALL_SUFFIXES, is_image, strip_suffix
from hybrid_attention.data.masks import find_all_masks, mask_owner
from hybrid_attention.data.video import VIDEO_SUFFIXES, is_video, video_frame_paths

# the table that an inference run writes into the folder of its results
PREDICTIONS = "predictions.csv"
_NAMED = 20  # files in a warning

logger = logging.getLogger(__name__)


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
        FileNotFoundError: `source` does not exist.
        ValueError: `results` is the folder of the images, where predicted masks would later pass for ground truth.
        ImportError: there is a DICOM file, and pydicom is missing; or `source` is a video, and PyAV is missing (in a
            folder videos are then skipped and logged).
        DataError: no images, two images whose results would have the same name, or unreadable files; all are listed.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist; give an image or a folder of images")
    root = source.parent if source.is_file() else source
    files = [source] if source.is_file() else files_below(source)
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
    if not source.is_file() or mask_owner(source) is not None:
        files = image_files(files, videos=True)  # a file on its own may have any name
    if not files:
        raise DataError(
            f"no image ({', '.join((*ALL_SUFFIXES, *VIDEO_SUFFIXES))}) in {source}; masks (*_mask*.png) don't count"
        )
    images, problems = expand_frames(files, frames, alone=source.is_file())
    cases: list[dict[str, Any]] = []
    owners: dict[str, Path] = {}
    for image in images:
        key = image.relative_to(root).as_posix()
        result = same_name(strip_suffix(key))
        if result in owners:
            problems.append(f"{image}: its results would overwrite those of {owners[result]}; rename one")
        owners[result] = image
        cases.append({"case_id": key, "image": str(image), "source": str(image)})
    masked = [{**case, "label": masks} for case, masks in zip(cases, find_all_masks(images), strict=True)]
    # frames of a video were read when they were listed
    more, _ = inspect_cases([case for case in masked if case["label"] or not is_video(case["image"])])
    raise_if_invalid(problems + more, len(files), "repair or remove these files")
    if not cases:
        raise DataError(f"no image in {source}: its DICOM files are not images")
    return cases


def image_files(files: Iterable[Path], videos: bool = False) -> list[Path]:
    """Return those of `files` that are images (or videos), and not masks by their names; the others are logged.

    Raises:
        DataError: names that are not UTF-8; all are listed.
    """
    images: list[Path] = []
    others: list[Path] = []
    faults: list[str] = []
    for path in (files := list(files)):
        fault = name_fault(path)
        if fault:
            faults.append(fault)
        elif mask_owner(path) is None:
            (images if is_image(path) or (videos and is_video(path)) else others).append(path)
    raise_if_invalid(faults, len(files), "rename them")
    log_left_out([path for path in others if not is_note(path)], "not an image of a supported format")
    return images


def log_left_out(files: Sequence[Path], reason: str) -> None:
    """Log skipped files in one warning, with the names of the first ones."""
    if files:
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        names = ", ".join(map(str, files[:_NAMED]))
        logger.warning("%d files are skipped (%s): %s%s", len(files), reason, names, more)


def expand_frames(
    files: Iterable[Path], frames: str | Sequence[int] = "all", alone: bool = False
) -> tuple[list[Path], list[str]]:
    """List the images in files: each frame of a video or a multi-frame DICOM file, else the file itself.

    Args:
        files: images, from `image_files`.
        frames: see `image_datalist`.
        alone: report a DICOM file that is not an image as a problem; False skips and logs it.

    Returns:
        Paths of images and frames (`loop.dcm#3`) in the order of the files; and problems, one line per file.

    Raises:
        ImportError: there is a DICOM file, and pydicom is missing; or a single video, and PyAV is missing.
    """
    images: list[Path] = []
    problems: list[str] = []
    for file in files:
        try:
            images += map(Path, loop_frames(file, frames))
        except ImportError as error:
            if alone or not is_video(file):
                raise
            logger.warning("%s is skipped: %s", file, error)
        except NoPictureError as error:
            if alone:
                problems.append(f"{file}: {error}")
            else:
                logger.warning("%s is skipped: %s", file, error)
        except ValueError as error:
            problems.append(f"{file}: {error}")
    return images, problems


def loop_frames(file: str | os.PathLike[str], frames: str | Sequence[int] = "all") -> list[str]:
    """List the frames of a video or a DICOM file; of another file, itself; see `frame_paths`, `video_frame_paths`."""
    if is_dicom(file):
        return frame_paths(file, frames)
    return video_frame_paths(file, frames) if is_video(file) else [str(file)]


def result_path(folder: str | os.PathLike[str], case_id: str, what: str, suffix: str = ".png") -> Path:
    """Return where an inference run writes a result: `FOLDER/a/b_overlay.png` for the overlay of `a/b.nii.gz`."""
    stem = Path(folder) / strip_suffix(case_id)
    return stem.with_name(f"{stem.name}_{what}{suffix}")
