"""The BUS-UCLM data set: `images/`, `masks/` in colours, and `INFO.csv`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from hybrid_attention.data.datasets.common import checked, listed, new_case, published_rows
from hybrid_attention.data.files import files_below
from hybrid_attention.data.images import image_shape
from hybrid_attention.data.listing import image_files

TABLE = "INFO.csv"
DEVICE = "Siemens ACUSON S2000"  # of all images

# two names of one patient: four of their images are identical
_SAME_PATIENT = {"CHVI": "CHCO"}

logger = logging.getLogger(__name__)


def bus_uclm_datalist(root: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """List the cases of BUS-UCLM; all files are checked.

    Skipped and logged: Doppler images and combined views, as listed in the table, and images whose mask has another
    size (thirteen in the published files, whose alignment is not known).

    Reference:
        N. Vallez et al., "BUS-UCLM: Breast ultrasound lesion segmentation dataset", Scientific Data 12 (2025) 242, DOI
        10.1038/s41597-025-04562-3.

    Args:
        root: the published folder. Images may be missing from it; their number is logged.

    Returns:
        Dicts sorted by name with the keys of `busi_datalist`. The group is the patient, the first four letters of the
        image's name.

    Raises:
        FileNotFoundError: the table is missing.
        ValueError: the table lacks a column, has two rows for an image or an unknown class.
        DataError: images that the table does not list or without a mask, or faulty files.
    """
    root = Path(root)
    table = published_rows(
        root / TABLE, "Image", {"Label": "class", "Doppler": "Doppler", "Combined": "combined views"}
    )
    images = image_files(files_below(root / "images"))
    cases: list[dict[str, Any]] = []
    left_out: dict[str, list[str]] = {}
    problems: list[str] = []
    for image, row in listed(root / TABLE, table, images, problems):
        mask = root / "masks" / image.name
        why = next((kind for kind in ("Doppler", "combined views") if row[kind].lower() in ("yes", "1", "true")), "")
        sizes = _size(image), _size(mask)
        if not why and None not in sizes and sizes[0] != sizes[1]:
            why = "mask of another size"
        if why:
            left_out.setdefault(why, []).append(image.stem)
            continue
        patient = _SAME_PATIENT.get(image.stem[:4], image.stem[:4])
        cases.append(new_case("bus_uclm", root, image, [mask], f"bus_uclm/{patient}", row["class"], device=DEVICE))
    for why, names in left_out.items():
        logger.warning("%s: %d images skipped (%s): %s", root, len(names), why, ", ".join(names))
    return checked(cases, problems, root)


def _size(path: Path) -> tuple[int, int] | None:
    """Return height and width of an image; None if it can't be read, which the check of all files reports."""
    try:
        return image_shape(path)
    except ValueError:
        return None
