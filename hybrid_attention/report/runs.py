"""Evaluation runs as they lie on disk: read, checked, and summarized anew."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_attention.evaluation import overlap_scores, summarize
from hybrid_attention.evaluation.lesions import LESION_COUNTS
from hybrid_attention.evaluation.metrics import COUNTS, SCORES
from hybrid_attention.evaluation.summary import has_lesion
from hybrid_attention.evaluation.surface import DISTANCES
from hybrid_attention.report.csv_table import read_table
from hybrid_attention.report.curves import Curve, read_curve
from hybrid_attention.report.record import is_defined, read_record
from hybrid_attention.report.table import plural

_TEXTS = ("case_id", "class", "group")
_REQUIRED = ("dice", "jaccard", "sensitivity", "specificity", "precision", "accuracy")
_PROBABILITY = "probability_"
# files of curves, and the numbers in the record that say that the evaluation wrote them
_CURVES = {"roc": ("pixel_roc", "auc"), "calibration": ("calibration", "ece")}
# per-case files hold six digits
_ROUNDING = 2e-6
_SAME = 1e-9

Row = dict[str, Any]

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
        return [name.removeprefix(_PROBABILITY) for name in self.rows[0] if name.startswith(_PROBABILITY)]

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
    rows = _read_cases(folder / "per_case.csv")
    record = read_record(folder / "summary.json")
    summary = summarize(rows)
    for path in _differences(summary, record):
        raise ValueError(f"{folder}/summary.json is not what per_case.csv gives ({path}); evaluate again")
    read = {  # a curve without its number in the record is of an earlier evaluation into the same folder
        curve: read_curve(folder, curve) if is_defined((record.get(key) or {}).get(number)) else None
        for curve, (key, number) in _CURVES.items()
    }
    return Run(name, folder, rows, record, summary, **read)


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
    text = os.fspath(run)
    name = ""
    if "=" in text and not Path(text).is_dir():
        name, _, text = text.partition("=")
        if not name.strip() or not text:
            raise ValueError(f"a run is FOLDER or NAME=FOLDER, got {os.fspath(run)!r}")
    folder = Path(text)
    if not folder.is_dir():
        raise ValueError(f"no folder {text!r}; a run is the folder of an evaluation, with per_case.csv in it")
    if not (folder / "per_case.csv").is_file():
        inner = folder / "evaluation" / "per_case.csv"
        cure = f"did you mean {inner.parent}?" if inner.is_file() else "a run is the folder of an evaluation"
        raise ValueError(f"no per_case.csv in {folder}; {cure}")
    whole = folder.resolve()
    return name.strip() or (whole.parent.name if whole.name == "evaluation" else whole.name), folder


def _read_cases(path: Path) -> list[Row]:
    texts = read_table(path, (*_TEXTS, *_REQUIRED, *COUNTS))
    if not texts:
        raise ValueError(f"{path} holds no case")
    rows = [_typed(text, place) for place, text in texts]
    seen: set[str] = set()
    twice = [row["case_id"] for row in rows if row["case_id"] in seen or seen.add(row["case_id"])]  # type: ignore[func-returns-value]
    if twice:
        raise ValueError(f"{path} holds {plural(len(twice), 'case')} twice, the first: {twice[0]}")
    return rows


def _typed(text: Mapping[str, str], place: str) -> Row:
    row: Row = {}
    for name, cell in text.items():
        try:
            if name in COUNTS or name in LESION_COUNTS:
                row[name] = int(cell)
                if row[name] < 0:
                    raise ValueError
            elif name in SCORES or name in DISTANCES or name.startswith(_PROBABILITY):
                row[name] = float(cell)
            else:
                row[name] = cell
        except ValueError:
            raise ValueError(f"{place}: {name} is {cell!r}, which is no number that it may be") from None
    row.setdefault("f1", row["dice"])  # one number under two names; older files have the first
    _check(row, f"{place} ({row['case_id']})")
    return row


def _check(row: Row, place: str) -> None:
    """Compare scores with the counts that they come from; find numbers that are undefined without a reason."""
    for name, value in overlap_scores({count: row[count] for count in COUNTS}).items():
        given = row.get(name, value)
        if math.isnan(given) != math.isnan(value) or abs(given - value) > _ROUNDING:
            raise ValueError(f"{place}: {name} is {given}, but its pixel counts give {value:.6f}")
    for name in DISTANCES:
        defined = has_lesion(row) and row["tp"] + row["fp"] > 0
        given = row.get(name, 0.0)
        if (defined and not 0 <= given < math.inf) or (not defined and given < 0):
            raise ValueError(f"{place}: {name} is {given}; truth and mask hold pixels, so it must be 0 or more")
    for name in (name for name in row if name.startswith(_PROBABILITY)):
        if not 0 <= row[name] <= 1:
            raise ValueError(f"{place}: {name} is {row[name]}, a probability is from 0 to 1")


def _differences(computed: Mapping[str, Any], recorded: Mapping[str, Any], path: str = "") -> list[str]:
    """Name the numbers that both summaries have and that differ; NaN equals NaN."""
    found = []
    for key in computed.keys() & recorded.keys():
        here, there, place = computed[key], recorded[key], f"{path}{key}"
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            found += _differences(here, there, f"{place}.")
        elif isinstance(here, int | float) and isinstance(there, int | float):
            both_nan = math.isnan(here) and math.isnan(there)
            if not both_nan and not math.isclose(here, there, rel_tol=_SAME, abs_tol=_SAME):
                found.append(f"{place}: {there} instead of {here}")
    return sorted(found)
