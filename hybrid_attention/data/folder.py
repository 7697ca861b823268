"""Any folder of images to predict on, with or without truth."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.data.checks import DataError, inspect_cases, raise_if_invalid
from hybrid_attention.data.dicom import NoPictureError, frame_paths, is_dicom
from hybrid_attention.data.files import files_below, is_note, name_fault, same_name
from hybrid_attention.data.masks import find_masks, mask_owner
from hybrid_attention.data.reading import ALL_SUFFIXES, is_image, strip_suffix

# the table that an inference run leaves in the folder of its results
PREDICTIONS = "predictions.csv"
_NAMED = 20  # files in a warning

logger = logging.getLogger(__name__)


def image_datalist(
    source: str | os.PathLike[str], results: str | os.PathLike[str] | None = None, frames: str | Sequence[int] = "all"
) -> list[dict[str, Any]]:
    """List an image, or all images below a folder, for inference.

    Masks that lie beside an image in BUSI's way (`NAME_mask.png`) are checked with it, never taken for images. Each
    frame of a DICOM file with several is a case, `NAME.dcm#1` and so on; DICOM files of a folder that by their kind
    hold no image (reports, segmentations) are left out, and the log names them; so are folders below `source` with the
    results of another inference run.

    Args:
        source: an image file, or a folder that is searched with its subfolders.
        results: the folder that will receive the results; where it lies below `source` it is not searched.
        frames: of DICOM files with several: "all", "middle", or a list of numbers counted from 1.

    Returns:
        Dicts with `case_id` (path relative to the folder), `image` and `source` (both the path, with the frame's
        number: transforms replace the first by an array).

    Raises:
        FileNotFoundError: `source` does not exist.
        ValueError: `results` is the folder of the images, where a written mask would later pass for truth.
        ImportError: there is a DICOM file, and pydicom is missing.
        DataError: no image in it, two images whose results would have one name, or unreadable files, all listed.
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
                f"{source} can't receive its own results, which would pass for truth: choose another folder"
            )
        if root.resolve() in target.parents:
            files = [path for path in files if target not in path.resolve().parents]
    for folder in {path.parent for path in files if path.name == PREDICTIONS} - {root}:
        logger.warning("%s is left out: it holds results (%s), not images", folder, PREDICTIONS)
        files = [path for path in files if folder not in path.parents]
    files = image_files(files)
    if not files:
        raise DataError(f"no image ({', '.join(ALL_SUFFIXES)}) in {source}; masks (*_mask*.png) don't count")
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
    more, _ = inspect_cases([{**case, "label": find_masks(case["image"])} for case in cases])
    raise_if_invalid(problems + more, len(files))
    if not cases:
        raise DataError(f"no image in {source}: its DICOM files hold none")
    return cases


def image_files(files: Iterable[Path]) -> list[Path]:
    """Return those of `files` that are images by their kind, and not masks by their names; the log names the rest.

    Raises:
        DataError: names that are not UTF-8, all listed.
    """
    images: list[Path] = []
    others: list[Path] = []
    faults: list[str] = []
    for path in (files := list(files)):
        fault = name_fault(path)
        if fault:
            faults.append(fault)
        elif mask_owner(path) is None:
            (images if is_image(path) else others).append(path)
    raise_if_invalid(faults, len(files), "rename them")
    log_left_out([path for path in others if not is_note(path)], "no image of a kind that is read")
    return images


def log_left_out(files: Sequence[Path], reason: str) -> None:
    """Name files in one warning, of many the first."""
    if files:
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        names = ", ".join(map(str, files[:_NAMED]))
        logger.warning("%d files are left out (%s): %s%s", len(files), reason, names, more)


def expand_frames(
    files: Iterable[Path], frames: str | Sequence[int] = "all", alone: bool = False
) -> tuple[list[Path], list[str]]:
    """Name the images of files: of a DICOM file with several frames each frame, of any other the file itself.

    Args:
        files: images, from `image_files`.
        frames: of DICOM files with several: "all", "middle", or a list of numbers counted from 1.
        alone: a DICOM file that by its kind holds no image is a problem, and not left out and logged.

    Returns:
        Paths of images and frames (`loop.dcm#3`) in the order of the files; and problems, a line a DICOM file.

    Raises:
        ImportError: there is a DICOM file, and pydicom is missing.
    """
    images: list[Path] = []
    problems: list[str] = []
    for file in files:
        try:
            images += map(Path, frame_paths(file, frames) if is_dicom(file) else [file])
        except NoPictureError as error:
            if alone:
                problems.append(f"{file}: {error}")
            else:
                logger.warning("%s is left out: %s", file, error)
        except ValueError as error:
            problems.append(f"{file}: {error}")
    return images, problems


def result_path(folder: str | os.PathLike[str], case_id: str, what: str, suffix: str = ".png") -> Path:
    """Return where an inference run writes a result: of `a/b.nii.gz` the overlay is `FOLDER/a/b_overlay.png`.

    Args:
        folder: of the results.
        case_id: of the image, from `image_datalist`.
        what: kind of result, for example `overlay`.
        suffix: of the file.
    """
    stem = Path(folder) / strip_suffix(case_id)
    return stem.with_name(f"{stem.name}_{what}{suffix}")
