"""Evaluation runs as they lie on disk: read, checked, and summarized anew."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_attention.engines.class_columns import predicted_classes
from hybrid_attention.evaluation.curves import Curve, read_curve
from hybrid_attention.evaluation.metrics import SCORES
from hybrid_attention.evaluation.named_run import name_and_place
from hybrid_attention.evaluation.record import is_defined
from hybrid_attention.evaluation.stored import Row, read_evaluation

# files of curves, and the numbers in the record that say that the evaluation wrote them
_CURVES = {"roc": ("pixel_roc", "auc"), "calibration": ("calibration", "ece")}

# for tables and pages: F1 is the same number as Dice
SHOWN_SCORES = tuple(name for name in SCORES if name != "f1")


@dataclass(frozen=True)
class Run:
    """One evaluation of one trained network.

    Args:
        name: what tables and figures call it.
        folder: where it was read from.
        rows: one a case, as `per_case.csv` has them; numbers are numbers.
        record: `summary.json`.
        summary: of `rows`, computed when the run was read.
        roc: points of the pixel ROC curve, None where the run has none.
        calibration: bins of the reliability curve, None where the run has none.
    """

    name: str
    folder: Path
    rows: list[Row]
    record: dict[str, Any]
    summary: dict[str, Any]
    roc: Curve | None = None
    calibration: Curve | None = None

    @property
    def classes(self) -> list[str]:
        """Classes that the network gives a probability, none for a network without class head."""
        return predicted_classes(self.rows)

    def recorded(self, *keys: str) -> Any:
        """Return a value of the record by its path of keys, None where there is none."""
        value: Any = self.record
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_run(run: str | os.PathLike[str]) -> Run:
    """Read one run, check it, and compute its summary from its cases.

    Args:
        run: folder with `per_case.csv` and `summary.json`, or `NAME=FOLDER`. Without a name it is the folder's, or its
            parent's where the folder is called "evaluation".

    Returns:
        The run.

    Raises:
        ValueError: table or record is missing, a file is damaged, a column is missing, a case stands there twice, a
            score is not what the pixel counts of its case give, or the summary is of other cases.
    """
    name, folder = _name_and_folder(run)
    stored = read_evaluation(folder)
    record = stored.record
    read = {  # a curve without its number in the record is of an earlier evaluation into the same folder
        curve: read_curve(folder, curve) if is_defined((record.get(key) or {}).get(number)) else None
        for curve, (key, number) in _CURVES.items()
    }
    return Run(name, folder, stored.rows, record, stored.summary, **read)


def require_curves(run: Run) -> None:
    """Make sure that a run has the curves that its record speaks of.

    Args:
        run: the run; a folder that holds its table and record only is good for tables, not for a report.

    Raises:
        ValueError: `roc.csv` or `calibration.csv` is gone.
    """
    for curve, (key, number) in _CURVES.items():
        value = run.recorded(key, number)
        if is_defined(value) and getattr(run, curve) is None:
            raise ValueError(
                f"{run.name}: the curve file {run.folder / curve}.csv is gone, though summary.json records "
                f"{key}.{number} {value}; evaluate again, or put it back"
            )


def _name_and_folder(run: str | os.PathLike[str]) -> tuple[str, Path]:
    name, place = name_and_place(run)
    folder = Path(place)
    if not folder.is_dir():
        raise ValueError(f"no folder {place!r}; a run is the folder of an evaluation, with per_case.csv in it")
    whole = folder.resolve()
    return name or (whole.parent.name if whole.name == "evaluation" else whole.name), folder
