"""Match the cases of evaluation runs, and collect their scores of the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from hybrid_attention.evaluation.formatting import plural
from hybrid_attention.evaluation.metrics.classification import class_probabilities
from hybrid_attention.evaluation.metrics.segmentation import SCORES, has_lesion
from hybrid_attention.evaluation.results import Evaluation

# for tables and pages: F1 equals Dice
SHOWN_SCORES = tuple(name for name in SCORES if name != "f1")


@dataclass(frozen=True)
class Comparison:
    """Runs over the same cases in the same order.

    Args:
        runs: one or more.
        left_out: by run, number of its cases that other runs lack; all zero unless only shared cases are compared.
        reference: name of the run to compare all others with; None for all pairs.
        score: score of the tests and of the order of cases.
    """

    runs: tuple[Evaluation, ...]
    left_out: dict[str, int]
    reference: str | None = None
    score: str = "dice"


@dataclass(frozen=True)
class PairedScores:
    """One score of the same cases in several runs.

    Args:
        scores: by run, one number per case.
        groups: one per case.
        cases: their names.
        undefined: number of excluded lesion cases in which the score of a run is undefined.
        without_lesion: number of excluded cases without a lesion in a run's ground truth.
    """

    scores: dict[str, list[float]]
    groups: list[str]
    cases: list[str]
    undefined: int
    without_lesion: int


def match_runs(
    runs: Sequence[Evaluation], intersection: bool = False, reference: str | None = None, score: str = "dice"
) -> Comparison:
    """Match the cases of runs, in the order of the first run.

    Args:
        runs: one or more.
        intersection: compare only the cases that all runs share; see `Evaluation.select`.
        reference: name of a run to compare all others with.
        score: score of the tests, one of `SCORES`.

    Raises:
        ValueError: score or reference is unknown, two runs have the same name, synthetic and real data are mixed, the
            cases differ (without `intersection`) or none is shared, or a case has different groups or classes.
    """
    names = [run.name for run in runs]
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        folders = " and ".join(str(run.folder) for run in runs if run.name == twice[0])
        raise ValueError(f"{len(twice)} runs are named {twice[0]!r} ({folders}); name them: NAME=FOLDER")
    if reference is not None and reference not in names:
        raise ValueError(f"no run named {reference!r} to compare with; there are {', '.join(names)}")
    synthetic = [run.name for run in runs if run.record["synthetic_data"]]
    if synthetic and len(synthetic) < len(runs):
        raise ValueError(
            f"synthetic and real data can't be compared: {', '.join(synthetic)} ran on computed phantoms, "
            f"{', '.join(name for name in names if name not in synthetic)} on real images"
        )
    shared = runs[0].cases["case_id"]
    for run in runs[1:]:
        shared = shared[shared.isin(run.cases["case_id"])]
    if any(len(run.cases) > len(shared) for run in runs):
        difference = "; ".join(text for run in runs[1:] if (text := _case_difference(run, runs[0])))
        if shared.empty:
            raise ValueError(f"the runs share no case: {difference}")
        if not intersection:
            raise ValueError(
                f"{difference}; --intersection compares the {plural(len(shared), 'case')} that all runs share"
            )
    matched = tuple(run.select(shared) for run in runs)
    for run in matched[1:]:
        _check_facts(run, matched[0])
    return Comparison(matched, {run.name: len(run.cases) - len(shared) for run in runs}, reference, score)


def paired_scores(comparison: Comparison) -> PairedScores:
    """Collect the score of the comparison for the lesion cases in which it is defined for all runs."""
    cases = [run.cases for run in comparison.runs]
    lesion = np.all([has_lesion(own) for own in cases], axis=0)
    scores = pd.DataFrame({run.name: run.cases[comparison.score] for run in comparison.runs})
    kept = lesion & scores.notna().all(axis=1)
    return PairedScores(
        scores[kept].to_dict("list"),
        cases[0]["group"][kept].tolist(),
        cases[0]["case_id"][kept].tolist(),
        int(lesion.sum() - kept.sum()),
        int((~lesion).sum()),
    )


def correct_classes(comparison: Comparison) -> dict[str, list[float]]:
    """Return 1 per correctly classified case, else 0, for each run that predicts classes."""
    correct = {}
    for run in comparison.runs:
        if run.classes:
            predicted = np.array(run.classes)[class_probabilities(run.cases).argmax(axis=1)]
            correct[run.name] = (run.cases["class"] == predicted).astype(float).tolist()
    return correct


def _case_difference(run: Evaluation, first: Evaluation) -> str:
    sentences = []
    for less, more in ((run, first), (first, run)):
        cases = more.cases["case_id"]
        lacking = cases[~cases.isin(less.cases["case_id"])]
        if len(lacking):
            sentences.append(
                f"{less.name} lacks {len(lacking)} of the {plural(len(cases), 'case')} of {more.name} "
                f"(the first: {lacking.iloc[0]})"
            )
    return ", ".join(sentences)


def _check_facts(run: Evaluation, first: Evaluation) -> None:
    for fact in ("group", "class"):
        other = run.cases[fact] != first.cases[fact]
        if other.any():
            case, here, there = (
                cases[other].iloc[0] for cases in (run.cases["case_id"], run.cases[fact], first.cases[fact])
            )
            raise ValueError(f"{case} has {fact} {there!r} in {first.name}, but {here!r} in {run.name}")
