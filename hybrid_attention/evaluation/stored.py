"""The files of an evaluation read back: typed, checked, summarized anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_attention.data.tables import read_table
from hybrid_attention.engines.class_columns import PROBABILITY_PREFIX, predicted_classes
from hybrid_attention.evaluation.lesions import LESION_COUNTS
from hybrid_attention.evaluation.metrics import COUNTS, SCORES, overlap_scores
from hybrid_attention.evaluation.record import read_record
from hybrid_attention.evaluation.summary import has_lesion, summarize
from hybrid_attention.evaluation.surface import DISTANCES
from hybrid_attention.evaluation.text import plural

_TEXTS = ("case_id", "class", "group")
_REQUIRED = ("dice", "jaccard", "sensitivity", "specificity", "precision", "accuracy")
_INTEGERS = (*COUNTS, *LESION_COUNTS, "fold")
# per-case files hold six digits
_ROUNDING = 2e-6
_SAME = 1e-9

Row = dict[str, Any]


@dataclass(frozen=True)
class StoredEvaluation:
    """One evaluation as it lies on disk.

    Args:
        folder: where it was read from.
        rows: one a case, as `per_case.csv` has them; numbers are numbers.
        record: `summary.json`.
        summary: of `rows`, computed when they were read.
    """

    folder: Path
    rows: list[Row]
    record: dict[str, Any]
    summary: dict[str, Any]


def read_evaluation(folder: Path) -> StoredEvaluation:
    """Read the table and the record of an evaluation, check them, and compute the summary from the cases.

    Args:
        folder: with `per_case.csv` and `summary.json`.

    Returns:
        The evaluation.

    Raises:
        ValueError: table or record is missing, a file is damaged, a column is missing, a case stands there twice, a
            score is not what the pixel counts of its case give, or the summary is of other cases.
    """
    if not (folder / "per_case.csv").is_file():
        inner = folder / "evaluation" / "per_case.csv"
        cure = f"did you mean {inner.parent}?" if inner.is_file() else "a run is the folder of an evaluation"
        raise ValueError(f"no per_case.csv in {folder}; {cure}")
    rows = _read_cases(folder / "per_case.csv")
    record = read_record(folder / "summary.json")
    summary = summarize(rows)
    for path in _differences(summary, record):
        raise ValueError(f"{folder}/summary.json is not what per_case.csv gives ({path}); evaluate again")
    return StoredEvaluation(folder, rows, record, summary)


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
            if name in _INTEGERS:
                row[name] = int(cell)
                if row[name] < 0:
                    raise ValueError
            elif name in SCORES or name in DISTANCES or name.startswith(PROBABILITY_PREFIX):
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
    for name in (name for name in row if name.startswith(PROBABILITY_PREFIX)):
        if not 0 <= row[name] <= 1:
            raise ValueError(f"{place}: {name} is {row[name]}, a probability is from 0 to 1")
    classes = {name: row[PROBABILITY_PREFIX + name] for name in predicted_classes([row])}
    named = row.get("predicted_class")
    if classes and named is not None and classes.get(named) != max(classes.values()):
        raise ValueError(f"{place}: predicted_class is {named!r}, but its probabilities give {_best(classes)!r}")


def _differences(computed: Mapping[str, Any], recorded: Mapping[str, Any], path: str = "") -> list[str]:
    """Name the numbers that both summaries have and that differ; undefined (NaN, null) equals undefined."""
    found = []
    for key in computed.keys() & recorded.keys():
        here, there, place = computed[key], recorded[key], f"{path}{key}"
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            found += _differences(here, there, f"{place}.")
        elif isinstance(here, int | float | None) and isinstance(there, int | float | None):
            one, other = (math.nan if value is None else value for value in (here, there))
            both_undefined = math.isnan(one) and math.isnan(other)
            if not both_undefined and not math.isclose(one, other, rel_tol=_SAME, abs_tol=_SAME):
                found.append(f"{place}: {there} instead of {here}")
    return sorted(found)


def _best(probabilities: Mapping[str, float]) -> str:
    return max(probabilities, key=probabilities.__getitem__)
