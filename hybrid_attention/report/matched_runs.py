"""Runs to compare: their matched cases, their scores of the same cases, and their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hybrid_attention.engines.training_record import trained_epochs
from hybrid_attention.evaluation.formatting import Table, plural
from hybrid_attention.evaluation.metrics.classification import class_probabilities
from hybrid_attention.evaluation.metrics.segmentation import COUNTS, SCORES, has_lesion
from hybrid_attention.evaluation.results import Evaluation, nested

# for tables and pages: F1 equals Dice
SHOWN_SCORES = tuple(name for name in SCORES if name != "f1")
_RECIPE = ("training", "recipe")
# what should be the same in all runs, with its path in summary.json
_SAME = {
    "split": ("split",),
    "part of the split": ("part",),
    "image size": ("settings", "image_size"),
    "size of the scores": ("score_size",),
    "unit of distances": ("distance_unit",),
    "epochs": ("training", "epochs"),  # see `trained_epochs`
    "lesions_only": (*_RECIPE, "lesions_only"),
    "encoder weights": (*_RECIPE, "encoder_weights"),
    "batch size": (*_RECIPE, "batch_size"),
    "seed": (*_RECIPE, "seed"),
    "training images": ("training", "images", "training"),
    "data of the training (SHA-256)": ("training", "data_sha256", "training"),
    "data of the test (SHA-256)": ("data_sha256",),
}
_PATHS = {
    **_SAME,
    "network": (*_RECIPE, "network_def", "_target_"),
    "learning rate": (*_RECIPE, "learning_rate"),
    "precision": (*_RECIPE, "precision"),
    "flips, temperature, threshold": ("decision",),
    "best epoch": ("training", "epoch"),
    "config": ("training", "provenance", "config_files"),
    "overrides": ("training", "provenance", "overrides"),
    "commit of the training": ("training", "provenance", "commit"),
    "commit of the evaluation": ("provenance", "commit"),
    "version": ("provenance", "version"),
    "processor": ("provenance", "processor"),
    "accelerator": ("provenance", "accelerator"),
    "weights (SHA-256)": ("weights_sha256",),
}


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


def settings_table(comparison: Comparison) -> Table:
    """Make the table of settings, one column per run; rows that differ are highlighted."""
    rows = [("cases", *(str(len(run.cases) + comparison.left_out[run.name]) for run in comparison.runs))]
    rows += [(title, *(_text(run, title) for run in comparison.runs)) for title in _PATHS]
    several = len(comparison.runs) > 1
    highlighted = frozenset(index for index, row in enumerate(rows) if len(set(row[1:])) > 1)
    if several:
        rows = [(*row, "differs" if index in highlighted else "") for index, row in enumerate(rows)]
    return Table(
        key="settings",
        title="Settings of each run",
        header=("", *(run.name for run in comparison.runs), *([""] if several else [])),
        rows=rows,
        note="From summary.json of each run; the first ten digits of hashes and commits.",
        highlighted=highlighted,
        texts=True,
    )


def differences(comparison: Comparison) -> list[str]:
    """Describe the differences between the runs other than the network, one text per difference."""
    found = []
    for title in _SAME:
        names: dict[str, list[str]] = {}
        for run in comparison.runs:
            names.setdefault(_text(run, title), []).append(run.name)
        if len(names) > 1:
            texts = (f"{', '.join(same)}: {text}" for text, same in names.items())
            found.append(f"{title} ({'; '.join(texts)})")
    return found + _other_truths(comparison)


def common_facts(comparison: Comparison) -> str:
    """Describe in one line what the runs were evaluated on, and their epochs."""

    def common(*values: Any) -> Any:
        return values[0] if len(set(values)) == 1 else "differs, see below"

    split = common(*(run.recorded("split") or "split not recorded" for run in comparison.runs))
    part = common(*(run.recorded("part") or "test" for run in comparison.runs))
    sizes = {run.recorded("settings", "image_size") for run in comparison.runs}
    size = sizes.pop() if len(sizes) == 1 else None
    epochs = {_text(run, "epochs") for run in comparison.runs}
    trained = "epochs differ, see below" if len(epochs) > 1 else f"epochs: {epochs.pop()}"
    return f"{split}; part: {part}" + ("" if size is None else f", {size} x {size} pixels") + f"; {trained}"


def _text(run: Evaluation, title: str) -> str:
    path = _PATHS[title]
    value = _value(run.record, title)
    if value is None and run.recorded("folds"):  # settings that differ between the folds of a merged run
        values = [_value(fold, title) for fold in run.recorded("folds", "runs")]
        texts = ["not recorded" if value is None else _as_text(value, title) for value in values]
        return texts[0] if len(set(texts)) == 1 else "; ".join(texts)
    if value is None:
        outer = run.recorded(*path[:-1])
        return "none" if isinstance(outer, Mapping) and path[-1] in outer else "not recorded"
    return _as_text(value, title)


def _value(record: Mapping[str, Any], title: str) -> Any:
    return trained_epochs(record.get("training")) if title == "epochs" else nested(record, _PATHS[title])


def _as_text(value: Any, title: str) -> str:
    if isinstance(value, Mapping):
        hashed = title == "config"
        return ", ".join(f"{key} ({str(item)[:10]})" if hashed else f"{key}={item}" for key, item in value.items())
    text = str(value)
    return text[:10] if "SHA-256" in title or "commit" in title else text


def _other_truths(comparison: Comparison) -> list[str]:
    """Compare the ground truth: lesion pixels if the image sizes agree, else whether there is a lesion."""
    first, found = comparison.runs[0], []
    for run in comparison.runs[1:]:
        here, there, counts = first.cases, run.cases, list(COUNTS)
        same = np.where(
            here[counts].sum(axis=1) == there[counts].sum(axis=1),
            here["tp"] + here["fn"] == there["tp"] + there["fn"],
            has_lesion(here) == has_lesion(there),
        )
        other = there["case_id"][~same]
        if len(other):
            found.append(
                f"ground truth of {plural(len(other), 'case')} between {first.name} and {run.name} "
                f"(the first: {other.iloc[0]})"
            )
    return found
