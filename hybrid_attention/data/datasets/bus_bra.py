"""The BUS-BRA data set: `Images/`, `Masks/`, `bus_data.csv` and `5-fold-cv.csv`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hybrid_attention.data.datasets.common import checked, listed, new_case, published_rows
from hybrid_attention.data.files import files_below
from hybrid_attention.data.listing import image_files

TABLE, FOLDS = "bus_data.csv", "5-fold-cv.csv"


def bus_bra_datalist(root: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """List the cases of BUS-BRA, whole or in part; all files are checked.

    Reference:
        W. Gómez-Flores, M. J. Gregorio-Calas, W. C. de Albuquerque Pereira, "BUS-BRA: A breast ultrasound dataset for
        assessing computer-aided diagnosis systems", Medical Physics 51 (2024) 3110, DOI 10.1002/mp.16812.

    Args:
        root: the published folder. Images may be missing from it; their number is logged.

    Returns:
        Dicts sorted by name with the keys of `busi_datalist`, and `fold` (0 to 4, the official fold minus one). The
        group is the patient; the official folds keep patients together.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: a table lacks a column, has two rows for an image or an unknown class.
        DataError: images that a table does not list or without a mask, or faulty files.
    """
    root = Path(root)
    columns = {"Case": "patient", "Pathology": "class", "BIRADS": "birads", "Device": "device"}
    table = published_rows(root / TABLE, "ID", columns)
    folds = published_rows(root / FOLDS, "ID", {"kFold": "fold"})
    images = image_files(files_below(root / "Images"))
    cases: list[dict[str, Any]] = []
    problems: list[str] = []
    for image, row in listed(root / TABLE, table, images, problems):
        if image.stem not in folds:
            problems.append(f"{image}: {FOLDS} does not list it")
            continue
        mask = root / "Masks" / image.name.replace("bus_", "mask_", 1)
        official = int(folds[image.stem]["fold"]) - 1
        more = {"fold": official, "birads": row["birads"], "device": row["device"]}
        cases.append(new_case("bus_bra", root, image, [mask], f"bus_bra/{row['patient']}", row["class"], **more))
    return checked(cases, problems, root)
