"""What keeps evaluations from being the folds of one cross-validation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.evaluation.stored import StoredEvaluation

# how the rule of a split names its fold
FOLD = re.compile(r"test fold (\d+) of (\d+)(?:, validation fold \d+)?")
# settings of a training that may differ between the folds of one cross-validation
# (the last repeats the first level's `initial_weights`, for the record, and older runs have it not)
_FREE = ("fold", "seed", "train#checkpoint#initial_weights")


def by_fold(runs: Sequence[StoredEvaluation]) -> dict[int, StoredEvaluation]:
    """Return runs by their test fold, in order.

    Args:
        runs: evaluations, in any order.

    Raises:
        ValueError: two runs of one fold, a merged run, or a split that names no test fold.
    """
    found: dict[int, StoredEvaluation] = {}
    for run in runs:
        fold = fold_of(run)[0]
        if fold in found:
            raise ValueError(f"{found[fold].folder} and {run.folder} are both of test fold {fold}")
        found[fold] = run
    return dict(sorted(found.items()))


def fold_of(run: StoredEvaluation) -> tuple[int, int]:
    """Return the test fold of a run, and how many folds its split has.

    Args:
        run: the evaluation.

    Raises:
        ValueError: the run is merged itself, or its split names no test fold.
    """
    if run.record.get("folds") is not None:
        raise ValueError(f"{run.folder} is a merged run itself; merge the folds that it came from")
    match = FOLD.search(run.record.get("split") or "")
    if match is None:
        raise ValueError(
            f"{run.folder}: the split names no test fold, as in 'test fold 0 of 5', got {run.record.get('split')!r}"
        )
    return int(match[1]), int(match[2])


def part_of(record: Mapping[str, Any]) -> str:
    """Return the part of the split that a record is of; older records have none and are of the test."""
    return str(record.get("part") or "test")


def check_folds(runs: Sequence[StoredEvaluation]) -> None:
    """Make sure that runs belong together and share no case.

    Args:
        runs: two evaluations or more.

    Raises:
        ValueError: a case, group or weight file is in two of them, or they differ in part, settings, recipe of the
            training, columns, units, data or the number of folds.
    """
    _check_alike(runs)
    _check_apart(runs)


def _check_alike(runs: Sequence[StoredEvaluation]) -> None:
    first = _facts(runs[0])
    for run in runs[1:]:
        facts = _facts(run)
        for name, value in facts.items():
            if value != first[name]:
                raise ValueError(
                    f"{run.folder} can't be merged with {runs[0].folder}: {name} is {value!r}, not {first[name]!r}"
                )
    recorded = [(run.folder, recipe) for run in runs if (recipe := _recipe(run.record))]
    for folder, recipe in recorded[1:]:
        there = recorded[0][1]
        other = [key for key in {**there, **recipe} if key not in _FREE and there.get(key) != recipe.get(key)]
        if other:
            raise ValueError(
                f"{folder} was trained with another recipe than {recorded[0][0]}: {', '.join(other)} differ"
            )


def _facts(run: StoredEvaluation) -> dict[str, Any]:
    """Return what must be one in all folds."""
    record = run.record
    return {
        "synthetic_data": record["synthetic_data"],
        "the part of the split": part_of(record),
        "the number of folds": fold_of(run)[1],
        "the split": FOLD.sub("fold", record["split"]),
        "settings": record.get("settings"),
        "how masks are made": record.get("decision"),
        "the size of the scores": record.get("score_size") or "network",
        "the unit of distances": record.get("distance_unit"),
        "the row of columns": list(run.rows[0]),
    }


def _recipe(record: Mapping[str, Any]) -> dict[str, Any]:
    return _flat((record.get("training") or {}).get("recipe") or {})


def _flat(settings: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return settings by their path, `train#sampler#shuffle`."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat.update(_flat(value, f"{place}{key}#") if isinstance(value, Mapping) else {f"{place}{key}": value})
    return flat


def _check_apart(runs: Sequence[StoredEvaluation]) -> None:
    seen: dict[tuple[str, str], Path] = {}
    for run in runs:
        own = {("case", row["case_id"]) for row in run.rows} | {("group", row["group"]) for row in run.rows}
        if run.record.get("weights_sha256"):
            own.add(("weight file (SHA-256)", run.record["weights_sha256"]))
        for what, name in sorted(own):
            if (what, name) in seen:
                raise ValueError(
                    f"the {what} {name} is in two folds, {seen[what, name]} and {run.folder}: these are no folds of "
                    "one cross-validation"
                )
        seen.update(dict.fromkeys(own, run.folder))
