"""The UDIAT data set ("Dataset B"): `original/`, `GT/` and the table of benign and malignant cases."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from hybrid_attention.data.datasets.common import checked, listed, new_case, published_rows
from hybrid_attention.data.files import files_below
from hybrid_attention.data.images import natural_order
from hybrid_attention.data.listing import image_files

_TABLES = ("DatasetB.xlsx", "DatasetB.csv")

logger = logging.getLogger(__name__)


def udiat_datalist(root: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """List the cases of UDIAT, one dict per case; all files are checked.

    The published folder contains `original/000001.png`, `GT/000001.png` and `DatasetB.xlsx`, whose columns "Image" and
    "Type" say which cases are benign and which malignant. A `DatasetB.csv` with these columns works as well. Without
    either, as in mirrors, the cases have no class, which is sufficient for segmentation.

    Reference:
        M. H. Yap et al., "Automated breast ultrasound lesions detection using convolutional neural networks", IEEE
        Journal of Biomedical and Health Informatics 22 (2018) 1218, DOI 10.1109/JBHI.2017.2731873.

    Args:
        root: the folder with `original/` and `GT/`.

    Returns:
        Dicts sorted by name with the keys of `busi_datalist`; each case is a group of its own.

    Raises:
        ValueError: the table lacks a column, has two rows for an image or an unknown class.
        DataError: images without a mask or, if there is a table, without a class, or faulty files.
    """
    root = Path(root)
    images = sorted(image_files(files_below(root / "original")), key=natural_order)
    masks = {mask.stem: mask for mask in image_files(files_below(root / "GT"))}
    table = next((root / name for name in _TABLES if (root / name).is_file()), None)
    if table is None:
        logger.warning("%s has no %s: its cases have no class, sufficient for masks alone", root, " or ".join(_TABLES))
        rows = {image.stem: {"class": ""} for image in images}
    else:
        rows = published_rows(table, "Image", {"Type": "class"}, _stem)
    cases: list[dict[str, Any]] = []
    problems: list[str] = []
    for image, row in listed(table or root, rows, images, problems):
        mask = masks.get(image.stem, root / "GT" / image.name)
        cases.append(new_case("udiat", root, image, [mask], f"udiat/{image.stem}", row["class"]))
    return checked(cases, problems, root)


def _stem(cell: str) -> str:
    """Turn 1, 1.0, 000001 and 000001.png alike into 000001."""
    return Path(cell).stem.zfill(6)
