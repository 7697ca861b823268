"""Readers of the data sets that are published with a table: BUS-BRA, BUS-UCLM, BrEaST and UDIAT.

Each takes the published folder, checks all files and returns cases as `busi_datalist` describes them, sorted by name.
Images that the table lists may be missing; their number is logged. They raise a ValueError for a table that lacks a
column, contradicts itself or has an unknown class, and a `DataError` for images that the table does not list or that
have no mask, and for faulty files.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hybrid_attention.data.cases import inspect_cases, raise_if_invalid
from hybrid_attention.data.folders import files_below, image_files
from hybrid_attention.data.images import image_shape
from hybrid_attention.data.names import natural_order
from hybrid_attention.data.tables import published_rows

Row = dict[str, str]
Cases = list[dict[str, Any]]

# two names of one patient of BUS-UCLM: four of their images are identical
_SAME_PATIENT = {"CHVI": "CHCO"}
_BREAST_TABLE = "*linical*.xlsx"  # its name has the date of its version

logger = logging.getLogger(__name__)


def new_case(dataset: str, root: Path, image: Path, **more: Any) -> dict[str, Any]:
    """Return a case as `busi_datalist` describes it; `more` are its masks (`label`), `group`, `class` and others."""
    case = {"case_id": image.relative_to(root).as_posix(), "image": str(image), "class": "", "synthetic": False}
    return {**case, "dataset": dataset, "birads": "", "device": "", **more, "label": list(map(str, more["label"]))}


def bus_bra_datalist(root: str | os.PathLike[str]) -> Cases:
    """List the cases of BUS-BRA, whole or in part.

    The group is the patient. `fold` is the official fold minus one (0 to 4), which keeps patients together.

    Reference:
        W. Gómez-Flores, M. J. Gregorio-Calas, W. C. de Albuquerque Pereira, "BUS-BRA: A breast ultrasound dataset for
        assessing computer-aided diagnosis systems", Medical Physics 51 (2024) 3110, DOI 10.1002/mp.16812.
    """
    root = Path(root)
    columns = {"Case": "patient", "Pathology": "class", "BIRADS": "birads", "Device": "device"}
    folds = published_rows(root / "5-fold-cv.csv", "ID", {"kFold": "fold"})

    def describe(image: Path, row: Row) -> dict[str, Any]:
        if image.stem not in folds:
            raise ValueError("5-fold-cv.csv does not list it")
        mask = root / "Masks" / image.name.replace("bus_", "mask_", 1)
        return {"label": [mask], "group": row.pop("patient"), "fold": int(folds[image.stem]["fold"]) - 1, **row}

    table = root / "bus_data.csv"
    images = image_files(files_below(root / "Images"))
    return _listed("bus_bra", root, images, table, published_rows(table, "ID", columns), describe)


def bus_uclm_datalist(root: str | os.PathLike[str]) -> Cases:
    """List the cases of BUS-UCLM.

    The group is the patient, the first four letters of the image's name. Skipped and logged: Doppler images and
    combined views, as listed in the table, and images whose mask has another size (thirteen in the published files,
    whose alignment is not known).

    Reference:
        N. Vallez et al., "BUS-UCLM: Breast ultrasound lesion segmentation dataset", Scientific Data 12 (2025) 242, DOI
        10.1038/s41597-025-04562-3.
    """
    root = Path(root)

    def describe(image: Path, row: Row) -> dict[str, Any] | str:
        mask, patient = root / "masks" / image.name, image.stem[:4]
        for kind in ("Doppler", "combined views"):
            if row[kind].lower() in ("yes", "1", "true"):
                return kind
        try:
            if image_shape(image) != image_shape(mask):
                return "mask of another size"
        except ValueError:
            pass  # the check of all files reports it
        group = _SAME_PATIENT.get(patient, patient)
        return {"label": [mask], "group": group, "class": row["class"], "device": "Siemens ACUSON S2000"}

    table = root / "INFO.csv"
    rows = published_rows(table, "Image", {"Label": "class", "Doppler": "Doppler", "Combined": "combined views"})
    return _listed("bus_uclm", root, image_files(files_below(root / "images")), table, rows, describe)


def breast_datalist(root: str | os.PathLike[str]) -> Cases:
    """List the cases of BrEaST (Breast-Lesions-USG), whose images lie beside the clinical data or one folder below.

    Each case is a patient, and so a group of its own. Only masks of tumours are read; those of other structures
    (`case001_other1.png`) are not lesions. Normal cases have no mask in the published files and are skipped and logged.

    Reference:
        A. Pawłowska et al., "Curated benchmark dataset for ultrasound based breast lesion analysis", Scientific Data 11
        (2024) 148, DOI 10.1038/s41597-024-02984-z; the data: DOI 10.7937/9WKK-Q141.
    """
    root = Path(root)
    tables = sorted(root.glob(_BREAST_TABLE))
    if len(tables) != 1:
        found = ", ".join(table.name for table in tables) or "none"
        raise FileNotFoundError(f"{root} must contain one table of clinical data ({_BREAST_TABLE}), found {found}")

    def describe(image: Path, row: Row) -> dict[str, Any] | str:
        masks = sorted(image.parent.glob(f"{image.stem}_tumor*.png"))
        if not masks and row["class"] != "normal":
            raise ValueError(f"no mask beside it (expected {image.stem}_tumor.png)")
        return {"label": masks, "group": image.stem, **row} if masks else "normal, without a mask"

    found_images = [path for pattern in ("case*.png", "*/case*.png") for path in sorted(root.glob(pattern))]
    images = [path for path in found_images if re.fullmatch(r"case\d+", path.stem)]
    rows = published_rows(tables[0], "Image_filename", {"Classification": "class", "BIRADS": "birads"})
    return _listed("breast", root, images, tables[0], rows, describe)


def udiat_datalist(root: str | os.PathLike[str]) -> Cases:
    """List the cases of UDIAT ("Dataset B"), each a group of its own.

    The published folder contains `original/000001.png`, `GT/000001.png` and `DatasetB.xlsx`, whose columns "Image" and
    "Type" say which cases are benign and which malignant. A `DatasetB.csv` with these columns works as well. Without
    either, as in mirrors, the cases have no class, which is sufficient for segmentation.

    Reference:
        M. H. Yap et al., "Automated breast ultrasound lesions detection using convolutional neural networks", IEEE
        Journal of Biomedical and Health Informatics 22 (2018) 1218, DOI 10.1109/JBHI.2017.2731873.
    """
    root = Path(root)
    images = sorted(image_files(files_below(root / "original")), key=natural_order)
    masks = {mask.stem: mask for mask in image_files(files_below(root / "GT"))}
    tables = [root / name for name in ("DatasetB.xlsx", "DatasetB.csv") if (root / name).is_file()]
    if tables:
        # 1, 1.0, 000001 and 000001.png are the same image
        rows = published_rows(tables[0], "Image", {"Type": "class"}, lambda cell: Path(cell).stem.zfill(6))
    else:
        logger.warning("%s has no DatasetB.xlsx or DatasetB.csv: its cases have no class, sufficient for masks", root)
        rows = {image.stem: {} for image in images}

    def describe(image: Path, row: Row) -> dict[str, Any]:
        return {"label": [masks.get(image.stem, root / "GT" / image.name)], "group": image.stem, **row}

    return _listed("udiat", root, images, tables[0] if tables else root, rows, describe)


def _listed(
    dataset: str,
    root: Path,
    images: Iterable[Path],
    table: Path,
    rows: Mapping[str, Row],
    describe: Callable[[Path, Row], dict[str, Any] | str],
) -> Cases:
    """List the images with a row in the table, and check all files.

    `describe` returns what `new_case` needs, or why an image is skipped, which is logged; a ValueError is a problem.
    """
    images = list(images)
    absent = set(rows) - {image.stem for image in images}
    if absent:
        logger.warning("%s lists %d images, of which %d are missing", table, len(rows), len(absent))
    cases: Cases = []
    problems: list[str] = []
    skipped: dict[str, list[str]] = {}
    for image in images:
        try:
            if image.stem not in rows:
                raise ValueError(f"{table.name} does not list it")
            found = describe(image, dict(rows[image.stem]))
        except ValueError as error:
            problems.append(f"{image}: {error}")
            continue
        if isinstance(found, str):
            skipped.setdefault(found, []).append(image.stem)
        else:
            cases.append(new_case(dataset, root, image, **{**found, "group": f"{dataset}/{found['group']}"}))
    for why, names in skipped.items():
        logger.warning("%s: %d images skipped (%s): %s", root, len(names), why, ", ".join(names))
    if not cases and not problems:
        problems.append(f"{root}: no image in it")
    more, cases = inspect_cases(cases)
    raise_if_invalid([*problems, *more], len(cases), "complete the folder from the published archive")
    return cases
