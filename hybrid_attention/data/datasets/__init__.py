"""Readers of data sets, one file per published layout; `datalist` picks the reader by the content of a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_attention.data.checks import DataError, on_demand, raise_if_invalid
from hybrid_attention.data.datasets.breast import breast_datalist
from hybrid_attention.data.datasets.bus_bra import bus_bra_datalist
from hybrid_attention.data.datasets.bus_uclm import bus_uclm_datalist
from hybrid_attention.data.datasets.busi import busi_datalist
from hybrid_attention.data.datasets.folder import folder_datalist
from hybrid_attention.data.datasets.udiat import udiat_datalist
from hybrid_attention.data.files import is_clutter
from hybrid_attention.data.hashing import case_digests
from hybrid_attention.data.images import is_image

Folder = str | os.PathLike[str]


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
        groups_csv: a table of duplicate groups, for folders in BUSI's layout and plain ones; see `busi_datalist`.

    Returns:
        The cases of all, as `busi_datalist` describes them.

    Raises:
        FileNotFoundError: a folder, or a required part of its layout, is missing.
        ValueError: `groups_csv` is given, but the groups of all sets are known.
        DataError: a folder contains two data sets, two folders contain the same image or a case of the same name, or a
            reader found faulty files; all are listed.
    """
    found = [_layout(Path(one)) for one in ([root] if isinstance(root, (str, os.PathLike)) else root)]
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
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist; give the folder of a data set")
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
