"""The BrEaST data set (Breast-Lesions-USG): `case001.png`, `case001_tumor.png` and the clinical data as Excel sheet."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from hybrid_attention.data.datasets.common import checked, listed, new_case, published_rows

TABLE = "*linical*.xlsx"  # its name has the date of its version

logger = logging.getLogger(__name__)


def breast_datalist(root: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """List the cases of BrEaST; all files are checked.

    Only masks of tumours are read; those of other structures (`case001_other1.png`) are not lesions. Normal cases have
    no mask in the published files and are skipped and logged.

    Reference:
        A. Pawłowska et al., "Curated benchmark dataset for ultrasound based breast lesion analysis", Scientific Data 11
        (2024) 148, DOI 10.1038/s41597-024-02984-z; the data: DOI 10.7937/9WKK-Q141.

    Args:
        root: the folder of the clinical data, with the images in it or one folder below. Images may be missing; their
            number is logged.

    Returns:
        Dicts sorted by name with the keys of `busi_datalist`. Each case is a patient, and so a group of its own.

    Raises:
        FileNotFoundError: the clinical data are missing.
        ImportError: openpyxl is missing.
        ValueError: the table lacks a column, has two rows for an image or an unknown class.
        DataError: images that the table does not list or without a mask, or faulty files.
    """
    root = Path(root)
    tables = sorted(root.glob(TABLE))
    if len(tables) != 1:
        found = ", ".join(table.name for table in tables) or "none"
        raise FileNotFoundError(f"{root} must contain one table of clinical data ({TABLE}), found {found}")
    table = published_rows(tables[0], "Image_filename", {"Classification": "class", "BIRADS": "birads"})
    found_images = [path for pattern in ("case*.png", "*/case*.png") for path in sorted(root.glob(pattern))]
    images = [path for path in found_images if re.fullmatch(r"case\d+", path.stem)]
    cases: list[dict[str, Any]] = []
    problems: list[str] = []
    normal: list[str] = []
    for image, row in listed(tables[0], table, images, problems):
        masks = sorted(image.parent.glob(f"{image.stem}_tumor*.png"))
        if masks:
            cases.append(
                new_case("breast", root, image, masks, f"breast/{image.stem}", row["class"], birads=row["birads"])
            )
        elif row["class"] == "normal":
            normal.append(image.stem)
        else:
            problems.append(f"{image}: no mask beside it (expected {image.stem}_tumor.png)")
    if normal:
        logger.warning("%s: %d normal images without a mask skipped: %s", root, len(normal), ", ".join(normal))
    return checked(cases, problems, root)
