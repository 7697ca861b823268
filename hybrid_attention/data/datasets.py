"""Data sets by the layout of their folder: BUSI's, that of another published set, or images with masks beside them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_attention.data.cases import DataError, inspect_cases, on_demand, raise_if_invalid
from hybrid_attention.data.folders import expand_frames, files_below, find_all_masks, image_files, log_left_out
from hybrid_attention.data.hashing import case_digests
from hybrid_attention.data.names import (
    ALL_SUFFIXES,
    is_clutter,
    is_image,
    mask_owner,
    natural_order,
    same_name,
    split_frame,
    strip_suffix,
)
from hybrid_attention.data.published import (
    breast_datalist,
    bus_bra_datalist,
    bus_uclm_datalist,
    new_case,
    udiat_datalist,
)
from hybrid_attention.data.tables import CLASSES, read_groups

PUBLISHED_FOLDER = "Dataset_BUSI_with_GT"  # the folder inside BUSI's archive
SYNTHETIC_MARKER = "SYNTHETIC.txt"  # of a folder of phantoms

Folder = str | os.PathLike[str]

logger = logging.getLogger(__name__)


def is_synthetic(root: Folder) -> bool:
    """Return whether `root` is a folder of phantoms."""
    return (Path(root) / SYNTHETIC_MARKER).is_file()


@on_demand
def busi_datalist(root: Folder, groups_csv: Folder | None = None) -> list[dict[str, Any]]:
    """List the cases of BUSI, or of a folder in its layout, one dict per case; all files are checked.

    The layout is that of the published archive: a folder for each class, images of any name, the masks of `NAME.png`
    beside it as `NAME_mask.png`, `NAME_mask_1.png` and so on. Each frame of a multi-frame DICOM file is a case,
    `NAME.dcm#1` and so on, with its own masks, `NAME#1_mask.png`; unless `groups_csv` says otherwise the frames of a
    file never straddle a split. Files that are not images are skipped and logged.

    Reference:
        W. Al-Dhabyani, M. Gomaa, H. Khaled, A. Fahmy, "Dataset of breast ultrasound images", Data in Brief 28 (2020)
        104863, DOI 10.1016/j.dib.2019.104863.

    Args:
        root: the folder with `benign/`, `malignant/` and `normal/` (at least one of them), or the one that contains
            the published `Dataset_BUSI_with_GT`.
        groups_csv: a table with the columns `image_id` (the `case_id` below) and `duplicate_group` and a row for every
            image and frame; images of one group never straddle a split. Without it each file is a group of its own.

    Returns:
        Dicts sorted by class and natural order of names: `case_id` (`folder/name.png`, for a frame
        `folder/name.dcm#1`), `image` (path), `label` (list of mask paths), `class`, `group`, `synthetic`, `dataset`
        ("busi", the layout), `birads` and `device` (empty here) and `lesion_area_fraction`.

    Raises:
        FileNotFoundError: the folder is missing or has no class folder.
        DataError: no images, images without a mask or with those of another, or faulty files; all are listed.
    """
    root = Path(root)
    if (root / PUBLISHED_FOLDER).is_dir():
        root = root / PUBLISHED_FOLDER
    folders = ", ".join(f"{name}/" for name in CLASSES)
    if not any((root / name).is_dir() for name in CLASSES):
        fault = f"contains none of {folders}" if root.is_dir() else "does not exist"
        raise FileNotFoundError(f"data folder {root} {fault}; give the folder that contains {folders}")
    files = image_files(files_below(root))
    own = [path for path in files if path.relative_to(root).parts[0] in CLASSES]
    log_left_out(sorted({*files} - {*own}), f"not in {folders}")
    cases = _cases_with_masks("busi", root, own, groups_csv)
    if not cases:
        raise DataError(f"no image ({', '.join(ALL_SUFFIXES)}) in {folders} of {root}: is it the right folder?")
    if is_synthetic(root):
        logger.warning("SYNTHETIC DATA: %s contains phantoms; no result on them says anything about patients", root)
    return cases


def folder_datalist(root: Folder, groups_csv: Folder | None = None) -> list[dict[str, Any]]:
    """List the images of a folder and its subfolders with the masks beside them as `busi_datalist` does, without class.

    Raises:
        FileNotFoundError: the folder is missing.
        DataError: no image with a mask; otherwise see `busi_datalist`.
    """
    root = _existing(root)
    files = files_below(root)
    masks = any(mask_owner(path) for path in files)
    cases = _cases_with_masks("folder", root, image_files(files), groups_csv) if masks else []
    if not cases:
        raise DataError(
            f"{root} contains no image with a mask beside it (a.png and a_mask.png), and it is not in the layout of a "
            "published data set; give the folder of the images"
        )
    return cases


def _existing(root: Folder) -> Path:
    if not Path(root).is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist; give the folder of a data set")
    return Path(root)


def _cases_with_masks(
    dataset: str, root: Path, files: Iterable[Path], groups_csv: Folder | None
) -> list[dict[str, Any]]:
    """List images with masks beside them and check all files; in "busi", the first folder of an image is its class."""
    images, unreadable = expand_frames(sorted(files, key=lambda path: (path.parent, natural_order(path))))
    groups = None if groups_csv is None else read_groups(groups_csv)
    synthetic = is_synthetic(root)
    cases: list[dict[str, Any]] = []
    problems: list[str] = []
    owners: dict[Path, Path] = {}
    for image, masks in zip(images, find_all_masks(images), strict=True):
        name, stem = image.relative_to(root), strip_suffix(image.name)
        if not masks:
            problems.append(f"{image}: no mask beside it (expected {stem}_mask.png)")
        owner = owners.setdefault(image.with_name(same_name(stem)), image)
        if owner != image:
            problems.append(f"{image}: its masks would be those of {owner.name}; rename or remove one")
        key = same_name(name.as_posix())
        if groups is not None and key not in groups:
            problems.append(f"{groups_csv}: no row for {name.as_posix()}")
        group = (groups or {}).get(key, split_frame(image)[0].relative_to(root).as_posix())
        group, class_name = (group, name.parts[0]) if dataset == "busi" else (f"{dataset}/{group}", "")
        more = {"label": masks, "group": group, "class": class_name, "synthetic": synthetic}
        cases.append(new_case(dataset, root, image, **more))
    found, cases = inspect_cases(cases)
    raise_if_invalid([*unreadable, *problems, *found], len(cases) + len(unreadable))
    return cases


class Layout(NamedTuple):
    """Layout of a data set's folder, and the function that lists its cases."""

    title: str
    parts: tuple[str, ...]  # required files and folders; `|` separates alternatives, `*` matches any text
    reader: Callable[..., list[dict[str, Any]]]
    takes_groups: bool = False  # the reader has an argument `groups_csv`

    def missing(self, root: Path) -> list[str]:
        """Return the parts that a folder lacks."""
        return [part for part in self.parts if not any(any(root.glob(name)) for name in part.split("|"))]


LAYOUTS = (
    Layout("BUS-BRA", ("Images", "Masks", "bus_data.csv", "5-fold-cv.csv"), bus_bra_datalist),
    Layout("BUS-UCLM", ("images", "masks", "INFO.csv"), bus_uclm_datalist),
    Layout("BrEaST", ("case*_tumor.png|*/case*_tumor.png", "*linical*.xlsx"), breast_datalist),
    Layout("UDIAT", ("original", "GT"), udiat_datalist),
    Layout("BUSI", ("benign|malignant|normal",), busi_datalist, takes_groups=True),
)
PLAIN = Layout("plain folder", (), folder_datalist, takes_groups=True)


@on_demand
def datalist(root: Folder | Sequence[Folder], groups_csv: Folder | None = None) -> list[dict[str, Any]]:
    """List the cases of one or several data sets, each by the reader of its layout.

    Args:
        root: the folder of a data set, or one that contains it in a subfolder, or several. A folder in no published
            layout is read as images with masks beside them.
        groups_csv: a table of duplicate groups, for folders in BUSI's layout and plain ones; see `busi_datalist`, which
            also describes the cases.

    Raises:
        FileNotFoundError: a folder, or a required part of its layout, is missing.
        ValueError: `groups_csv` is given, but the groups of all sets are known.
        DataError: a folder contains two data sets, two folders contain the same image or a case of the same name, or a
            reader found faulty files; all are listed.
    """
    found = [_layout(_existing(one)) for one in ([root] if isinstance(root, (str, os.PathLike)) else root)]
    if groups_csv is not None and not any(layout.takes_groups for _, layout in found):
        titles = ", ".join(layout.title for _, layout in found)
        raise ValueError(f"groups_csv is for folders in BUSI's layout and plain ones; the groups of {titles} are known")
    parts = [layout.reader(one, groups_csv) if layout.takes_groups else layout.reader(one) for one, layout in found]
    cases = [case for part in parts for case in part]
    problems = []
    if len(parts) > 1:
        names: dict[str, tuple[int, str]] = {}
        for number, part in enumerate(parts):
            for case, digest in zip(part, case_digests(part), strict=True):
                for key, what in ((case["case_id"], "has the name of"), (digest, "is the same image as")):
                    other, path = names.setdefault(key, (number, case["image"]))
                    if other != number:
                        problems.append(f"{case['image']}: {what} {path}")
    raise_if_invalid(problems, len(cases), "remove one of each pair, so that no image is in two data sets")
    return cases


def _layout(root: Path) -> tuple[Path, Layout]:
    """Find the data set in a folder, which is the folder itself or its only subfolder, and its layout."""
    below = sorted(path for path in root.iterdir() if path.is_dir() and not is_clutter(path.name))
    found = [(place, layout) for place in (root, *below) for layout in LAYOUTS if not layout.missing(place)]
    if len(found) > 1 or (found and found[0][0] != root and (len(below) > 1 or any(map(is_image, root.iterdir())))):
        listed = ", ".join(f"{layout.title} in {place}" for place, layout in found)
        raise DataError(f"{root} contains more than one data set ({listed}); give a list of their folders")
    if found:
        return found[0]
    for layout in LAYOUTS:
        missing = layout.missing(root)
        if 2 * len(missing) <= len(layout.parts):
            raise FileNotFoundError(
                f"{root} looks like {layout.title}, but lacks {', '.join(missing)}; complete it from the published "
                "archive or, if it is another data set, put the masks beside the images (a.png, a_mask.png)"
            )
    return root, PLAIN
