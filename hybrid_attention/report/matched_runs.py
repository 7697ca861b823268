"""Runs to compare: their matched cases, their scores of the same cases, and their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
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
    """Runs over the same cases in the same order."""

    runs: tuple[Evaluation, ...]
    left_out: dict[str, int]  # by run, number of its cases that other runs lack
    reference: str | None = None  # name of the run to compare all others with; None for all pairs
    score: str = "dice"  # of the tests and of the order of cases


@dataclass(frozen=True)
class PairedScores:
    """One score of the same cases in several runs."""

    scores: dict[str, list[float]]  # by run
    groups: list[str]
    cases: list[str]
    undefined: int  # number of excluded lesion cases in which the score of a run is undefined
    without_lesion: int  # number of excluded cases without a lesion in a run's ground truth


def match_runs(
    runs: Sequence[Evaluation], intersection: bool = False, reference: str | None = None, score: str = "dice"
) -> Comparison:
    """Match the cases of runs, in the order of the first run; with `intersection`, only those that all runs share.

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
    for run, fact in product(matched[1:], ("group", "class")):
        ids, here, there = run.cases["case_id"], run.cases[fact], matched[0].cases[fact]
        for place in np.flatnonzero(here != there)[:1]:
            raise ValueError(
                f"{ids[place]} has {fact} {there[place]!r} in {matched[0].name}, but {here[place]!r} in {run.name}"
            )
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


def settings_table(comparison: Comparison) -> Table:
    """Make the table of settings, one column per run; rows that differ are highlighted."""
    rows = [("cases", *(str(len(run.cases) + comparison.left_out[run.name]) for run in comparison.runs))]
    rows += [(title, *(_text(run, title) for run in comparison.runs)) for title in _PATHS]
    header = ("", *(run.name for run in comparison.runs))
    highlighted = frozenset(index for index, row in enumerate(rows) if len(set(row[1:])) > 1)
    if len(comparison.runs) > 1:
        header = (*header, "")
        rows = [(*row, "differs" if index in highlighted else "") for index, row in enumerate(rows)]
    note = "From summary.json of each run; the first ten digits of hashes and commits."
    return Table("settings", "Settings of each run", header, rows, note, highlighted, texts=True)


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
    part = common(*(run.part for run in comparison.runs))
    size, *others = {run.recorded("settings", "image_size") for run in comparison.runs}
    pixels = "" if others or size is None else f", {size} x {size} pixels"
    epochs, *others = {_text(run, "epochs") for run in comparison.runs}
    return f"{split}; part: {part}{pixels}; " + ("epochs differ, see below" if others else f"epochs: {epochs}")


def _text(run: Evaluation, title: str) -> str:
    text = _recorded(run.record, title)
    if text is None and run.recorded("folds"):  # settings that differ between the folds of a merged run
        found = [_recorded(fold, title) for fold in run.recorded("folds", "runs")]
        texts = ["not recorded" if one is None else one for one in found]
        return "; ".join(texts if len(set(texts)) > 1 else texts[:1])
    if text is None:
        *outer, last = _PATHS[title]
        parent = run.recorded(*outer)
        text = "none" if isinstance(parent, Mapping) and last in parent else "not recorded"
    return text


def _recorded(record: Mapping[str, Any], title: str) -> str | None:
    value = trained_epochs(record.get("training")) if title == "epochs" else nested(record, _PATHS[title])
    if value is None:
        return None
    if isinstance(value, Mapping):
        hashed = title == "config"
        return ", ".join(f"{key} ({str(item)[:10]})" if hashed else f"{key}={item}" for key, item in value.items())
    text = str(value)
    return text[:10] if "SHA-256" in title or "commit" in title else text


def _other_truths(comparison: Comparison) -> list[str]:
    """Compare the ground truth: lesion pixels if the image sizes agree, else whether there is a lesion."""
    first, found, counts = comparison.runs[0], [], list(COUNTS)
    for run in comparison.runs[1:]:
        here, there = first.cases, run.cases
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
