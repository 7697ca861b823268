"""The BUS-BRA data set: `Images/`, `Masks/`, `bus_data.csv` and `5-fold-cv.csv`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hybrid_attention.data.checks import inspect_cases, raise_problems
from hybrid_attention.data.folder import image_files
from hybrid_attention.data.listing import files_below
from hybrid_attention.data.tables import read_index

TABLE, FOLDS = "bus_data.csv", "5-fold-cv.csv"


def bus_bra_datalist(root: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """List the cases of BUS-BRA, whole or in part; every file is read once and checked.

    Reference:
        W. Gómez-Flores, M. J. Gregorio-Calas, W. C. de Albuquerque Pereira, "BUS-BRA: A breast ultrasound dataset for
        assessing computer-aided diagnosis systems", Medical Physics 51 (2024) 3110, DOI 10.1002/mp.16812.

    Args:
        root: the published folder.

    Returns:
        Dicts sorted by name with the keys of `busi_datalist`, and `fold` (0 to 4, the official fold less one), `birads`
        ("2" to "5") and `device`. The group is the patient; the official folds keep patients together.

    Raises:
        FileNotFoundError: a folder or a table is missing.
        ValueError: a table is damaged, or says two things of an image.
        DataError: images that a table does not list, images without a mask, unreadable files, masks of another size:
            all listed.
    """
    root = Path(root)
    for part in ("Images", "Masks", TABLE, FOLDS):
        if not (root / part).exists():
            raise FileNotFoundError(f"{root / part} does not exist; give the folder of BUS-BRA as published")
    table = read_index(root / TABLE, "ID", ("Case", "Pathology", "BIRADS", "Device"))
    folds = read_index(root / FOLDS, "ID", ("kFold",))
    cases: list[dict[str, Any]] = []
    problems: list[str] = []
    for image in image_files(files_below(root / "Images")):
        if image.stem not in table or image.stem not in folds:
            problems.append(f"{image}: {TABLE} or {FOLDS} does not list {image.stem}")
            continue
        row = table[image.stem]
        cases.append(
            {
                "case_id": f"Images/{image.name}",
                "image": str(image),
                "label": [str(root / "Masks" / image.name.replace("bus_", "mask_", 1))],
                "class": row["Pathology"],
                "group": f"bus_bra/{row['Case']}",
                "synthetic": False,
                "dataset": "bus_bra",
                "fold": int(folds[image.stem]["kFold"]) - 1,
                "birads": row["BIRADS"],
                "device": row["Device"],
            }
        )
    if not cases:
        problems.append(f"{root / 'Images'}: no image in it")
    more, cases = inspect_cases(cases)
    raise_problems(problems + more, len(cases), "complete the folder from the published archive")
    return cases
