"""Readers of data sets, one file per published layout; `datalist` picks the reader by what a folder holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.data.checks import raise_problems
from hybrid_attention.data.datasets.bus_bra import bus_bra_datalist
from hybrid_attention.data.datasets.busi import busi_datalist
from hybrid_attention.data.datasets.udiat import udiat_datalist
from hybrid_attention.data.identity import case_digests
from hybrid_attention.data.on_demand import on_demand

Folder = str | os.PathLike[str]

# a reader for a folder that holds all of these
LAYOUTS: list[tuple[tuple[str, ...], Callable[[Folder], list[dict[str, Any]]]]] = [
    (("Images", "Masks", "bus_data.csv"), bus_bra_datalist),
    (("original", "GT"), udiat_datalist),
]


@on_demand
def datalist(root: Folder | Sequence[Folder], groups_csv: Folder | None = None) -> list[dict[str, Any]]:
    """List the cases of one or several data sets, each by the reader of its layout.

    Args:
        root: the folder of a data set, or several.
        groups_csv: a table of duplicate groups, for folders in BUSI's layout; see `busi_datalist`.

    Returns:
        The cases of all, as `busi_datalist` describes them; `dataset` names the layout of each, `birads` and `device`
        are empty where the set does not have them.

    Raises:
        FileNotFoundError: a folder, or what its layout needs, is missing.
        DataError: two folders hold the same image or have a case of the same name, or a reader found faulty files: all
            of them listed.
    """
    roots = [root] if isinstance(root, (str, os.PathLike)) else list(root)
    parts = [_read(Path(one), groups_csv) for one in roots]
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
    raise_problems(problems, len(cases), "take one of each pair out, so that no image is in two data sets")
    # batches are collated over sets, so that all cases need the same keys
    return [{"birads": "", "device": "", **case} for case in cases]


def _read(root: Path, groups_csv: Folder | None) -> list[dict[str, Any]]:
    for names, reader in LAYOUTS:
        if all((root / name).exists() for name in names):
            return reader(root)
    return busi_datalist(root, groups_csv)
