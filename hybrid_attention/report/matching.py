"""Which runs may stand side by side, and on which cases."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hybrid_attention.evaluation import summarize
from hybrid_attention.evaluation.metrics import SCORES
from hybrid_attention.evaluation.text import plural
from hybrid_attention.report.runs import Run


@dataclass(frozen=True)
class Comparison:
    """Runs over the same cases in the same order.

    Args:
        runs: one or more, with rows in one order.
        left_out: by run, how many of its cases the others lack, all zero unless only shared cases are compared.
        reference: name of the run that all others are compared with, None for all pairs.
        score: the score of the tests and of the order of cases.
    """

    runs: tuple[Run, ...]
    left_out: dict[str, int]
    reference: str | None = None
    score: str = "dice"

    @property
    def synthetic(self) -> bool:
        """Whether the cases are computed phantoms."""
        return bool(self.runs[0].record["synthetic_data"])

    @property
    def case_ids(self) -> list[str]:
        """The cases, in the order of all rows."""
        return [row["case_id"] for row in self.runs[0].rows]


def match_runs(
    runs: Sequence[Run], intersection: bool = False, reference: str | None = None, score: str = "dice"
) -> Comparison:
    """Put runs side by side.

    Args:
        runs: one or more.
        intersection: compare the cases that all runs share where they differ; a run that loses cases by it also loses
            its ROC and reliability curve, which are over all its cases.
        reference: name of a run to compare all others with.
        score: of the tests, one of `SCORES`.

    Returns:
        The comparison, rows in the order of the first run.

    Raises:
        ValueError: no such score, no run, two of one name, synthetic and real data together, other cases (without
            `intersection`) or none shared, a case of another group or class in another run, or no such reference.
    """
    names = [run.name for run in runs]
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
    if not runs:
        raise ValueError("there is no run to report on")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        folders = " and ".join(str(run.folder) for run in runs if run.name == twice)
        raise ValueError(f"{names.count(twice)} runs are named {twice!r} ({folders}); name them: NAME=FOLDER")
    if reference is not None and reference not in names:
        raise ValueError(f"no run named {reference!r} to compare with; there are {', '.join(names)}")
    synthetic = [run.name for run in runs if run.record["synthetic_data"]]
    if synthetic and len(synthetic) < len(runs):
        raise ValueError(
            f"synthetic and real data can't stand in one report: {', '.join(synthetic)} ran on computed phantoms, "
            f"{', '.join(name for name in names if name not in synthetic)} on real images"
        )
    by_case = [{row["case_id"]: row for row in run.rows} for run in runs]
    shared = [case for case in by_case[0] if all(case in rows for rows in by_case)]
    if any(len(rows) > len(shared) for rows in by_case):
        difference = "; ".join(text for run in runs[1:] if (text := _case_difference(run, runs[0])))
        if not shared:
            raise ValueError(f"the runs share no case: {difference}")
        if not intersection:
            raise ValueError(
                f"{difference}; --intersection compares the {plural(len(shared), 'case')} that all runs share"
            )
    for run, rows in zip(runs, by_case, strict=True):
        _check_facts(run, rows, runs[0], by_case[0], shared)
    matched = tuple(_restricted(run, [rows[case] for case in shared]) for run, rows in zip(runs, by_case, strict=True))
    return Comparison(matched, {run.name: len(run.rows) - len(shared) for run in runs}, reference, score)


def _case_difference(run: Run, first: Run) -> str:
    own, other = ({row["case_id"]: None for row in each.rows} for each in (run, first))
    sentences = []
    for less, more, name, rest in ((own, other, run.name, first.name), (other, own, first.name, run.name)):
        lacking = [case for case in more if case not in less]
        if lacking:
            sentences.append(
                f"{name} lacks {len(lacking)} of the {plural(len(more), 'case')} of {rest} (the first: {lacking[0]})"
            )
    return ", ".join(sentences)


def _check_facts(run: Run, rows: dict[str, Any], first: Run, others: dict[str, Any], shared: Sequence[str]) -> None:
    for fact in ("group", "class"):
        for case in shared:
            here, there = rows[case][fact], others[case][fact]
            if here != there:
                raise ValueError(f"{case} is of {fact} {there!r} in {first.name}, but of {here!r} in {run.name}")


def _restricted(run: Run, rows: list[dict[str, Any]]) -> Run:
    if len(rows) == len(run.rows):
        return dataclasses.replace(run, rows=rows)
    record = {**run.record, "pixel_roc": None, "calibration": None}  # these are over all cases of the run
    return dataclasses.replace(run, rows=rows, summary=summarize(rows), record=record, roc=None, calibration=None)
