"""The UDIAT data set ("Dataset B"): `original/`, `GT/` and the table of benign and malignant cases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hybrid_attention.data.checks import inspect_cases, raise_problems
from hybrid_attention.data.extras import how_to_install
from hybrid_attention.data.folder import image_files
from hybrid_attention.data.listing import files_below
from hybrid_attention.data.tables import read_table

_TABLES = ("DatasetB.xlsx", "DatasetB.csv")


def udiat_datalist(root: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """List the cases of UDIAT, one dict a case; every file is read once and checked.

    The published folder holds `original/000001.png`, `GT/000001.png` and `DatasetB.xlsx`, whose columns "Image" and
    "Type" say which cases are benign and which malignant. A `DatasetB.csv` with these columns serves as well.

    Reference:
        M. H. Yap et al., "Automated breast ultrasound lesions detection using convolutional neural networks", IEEE
        Journal of Biomedical and Health Informatics 22 (2018) 1218, DOI 10.1109/JBHI.2017.2731873.

    Args:
        root: the folder that holds `original/` and `GT/`.

    Returns:
        Dicts sorted by name with the keys of `busi_datalist`; each case is a group of its own.

    Raises:
        FileNotFoundError: a folder or the table is missing.
        DataError: images without a mask or without a class, unreadable files, masks of another size: all listed.
    """
    root = Path(root)
    for folder in (root / "original", root / "GT"):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} does not exist; give the folder that holds original/ and GT/")
    images = image_files(files_below(root / "original"))
    classes = _read_classes(root)
    cases, problems = [], []
    for image in images:
        mask = root / "GT" / image.name
        if image.stem not in classes:
            problems.append(f"{image}: the table of classes has no row for {image.stem}")
        cases.append(
            {
                "case_id": f"original/{image.name}",
                "image": str(image),
                "label": [str(mask)],
                "class": classes.get(image.stem, ""),
                "group": image.stem,
                "synthetic": False,
                "dataset": "udiat",
            }
        )
    if not cases:
        problems.append(f"{root / 'original'}: no image in it")
    more, cases = inspect_cases(cases)
    raise_problems(problems + more, len(cases), "complete the folder from the published archive")
    return cases


def _read_classes(root: Path) -> dict[str, str]:
    """Return {"000001": "benign", …} from the published table."""
    table = next((root / name for name in _TABLES if (root / name).is_file()), None)
    if table is None:
        raise FileNotFoundError(f"{root} holds none of {', '.join(_TABLES)}, the table of benign and malignant cases")
    if table.suffix == ".csv":
        read = [row for _, row in read_table(table)]
        rows = [list(read[0]), *(list(row.values()) for row in read)] if read else []
    else:
        rows = _read_sheet(table)
    header = [str(cell).strip().lower() for cell in rows[0]] if rows else []
    if "image" not in header or "type" not in header:
        raise ValueError(f"{table} must have the columns 'Image' and 'Type', found {header}")
    image, kind = header.index("image"), header.index("type")
    named = [(_stem(row[image]), str(row[kind]).strip().lower()) for row in rows[1:] if row[image] not in (None, "")]
    classes = dict(named)
    twice = sorted({name for name, of in named if of != classes[name]})
    if twice:
        raise ValueError(f"{table} gives two classes to {', '.join(twice)}")
    unknown = sorted(set(classes.values()) - {"benign", "malignant"})
    if unknown:
        raise ValueError(f"{table}: unknown Type {unknown}; expected 'Benign' or 'Malignant'")
    return classes


def _read_sheet(table: Path) -> list[list[Any]]:
    try:
        import openpyxl
    except ImportError:
        raise ImportError(
            f"reading {table} needs openpyxl: {how_to_install('udiat')}, or save it as DatasetB.csv"
        ) from None
    book = openpyxl.load_workbook(table, read_only=True, data_only=True)
    return [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]


def _stem(cell: Any) -> str:
    """Turn 1, 1.0, "000001" and "000001.png" alike into "000001"."""
    text = str(int(cell)) if isinstance(cell, (int, float)) else Path(str(cell).strip()).stem
    return text.zfill(6)
