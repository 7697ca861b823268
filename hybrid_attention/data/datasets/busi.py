"""The BUSI data set and any folder in its layout: `benign/`, `malignant/`, `normal/` with masks beside the images."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from hybrid_attention.data.checks import DataError, on_demand
from hybrid_attention.data.datasets.common import CLASSES, cases_with_masks
from hybrid_attention.data.files import files_below
from hybrid_attention.data.images import ALL_SUFFIXES
from hybrid_attention.data.listing import image_files, log_left_out

PUBLISHED_FOLDER = "Dataset_BUSI_with_GT"  # the folder inside the published archive
SYNTHETIC_MARKER = "SYNTHETIC.txt"  # of a folder of phantoms

logger = logging.getLogger(__name__)


@on_demand
def busi_datalist(
    root: str | os.PathLike[str], groups_csv: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """List the cases of BUSI, or of a folder in its layout, one dict per case; all files are checked.

    The layout is that of the published archive: a folder for each class, images of any name (PNG, JPEG, TIFF, NIfTI,
    DICOM), the masks of `NAME.png` beside it as `NAME_mask.png`, `NAME_mask_1.png` and so on. Each frame of a
    multi-frame DICOM file is a case, `NAME.dcm#1` and so on, with its own masks, `NAME#1_mask.png`; unless `groups_csv`
    says otherwise the frames of a file never straddle a split. DICOM files that are not images (reports,
    segmentations) and files of unsupported formats are skipped and logged; hidden files, thumbnails and recycle bins
    are skipped silently.

    Reference:
        W. Al-Dhabyani, M. Gomaa, H. Khaled, A. Fahmy, "Dataset of breast ultrasound images", Data in Brief 28 (2020)
        104863, DOI 10.1016/j.dib.2019.104863.

    Args:
        root: the folder with `benign/`, `malignant/` and `normal/` (at least one of them), or the one that contains
            the published `Dataset_BUSI_with_GT`.
        groups_csv: a table with the columns `image_id` (the `case_id` below) and `duplicate_group`; images of one group
            never straddle a split, and every image and frame needs a row. Without it each file is a group of its own,
            unless the folder is BUSI.

    Returns:
        Dicts sorted by class and natural order of names: `case_id` (`folder/name.png`, for a frame
        `folder/name.dcm#1`), `image` (path, likewise), `label` (list of mask paths), `class`, `group`, `synthetic`,
        `dataset` ("busi", the layout), `birads` and `device` (empty here) and `lesion_area_fraction`.

    Raises:
        FileNotFoundError: the folder is missing or has no class folder.
        DataError: no images, images without a mask or with those of another, or faulty files; all are listed.
        ImportError: there is a DICOM file, and pydicom is missing.
    """
    root = Path(root)
    if (root / PUBLISHED_FOLDER).is_dir():
        root = root / PUBLISHED_FOLDER
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist; give the folder that contains {_folders()}")
    if not any((root / name).is_dir() for name in CLASSES):
        raise FileNotFoundError(f"data folder {root} contains none of {_folders()}; give the folder that does")
    synthetic = is_synthetic(root)
    files = image_files(files_below(root))
    own = [path for path in files if path.relative_to(root).parts[0] in CLASSES]
    log_left_out(sorted({*files} - {*own}), f"not in {_folders()}")
    cases = cases_with_masks("busi", root, own, groups_csv, synthetic)
    if not cases:
        raise DataError(f"no image ({', '.join(ALL_SUFFIXES)}) in {_folders()} of {root}: is it the right folder?")
    if synthetic:
        logger.warning("SYNTHETIC DATA: %s contains phantoms; no result on them says anything about patients", root)
    return cases


def _folders() -> str:
    return ", ".join(f"{name}/" for name in CLASSES)


def is_synthetic(root: str | os.PathLike[str]) -> bool:
    """Return whether `root` is a folder of phantoms, by its marker file."""
    return (Path(root) / SYNTHETIC_MARKER).is_file()
