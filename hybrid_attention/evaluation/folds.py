"""The test folds of a cross-validation as one evaluation run."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.data.files import prepare_output_folder, write_csv
from hybrid_attention.engines.provenance import provenance
from hybrid_attention.evaluation.classification import class_summary
from hybrid_attention.evaluation.curves import Curve, read_curve
from hybrid_attention.evaluation.fold_checks import FOLD, by_fold, check_folds, fold_of, part_of
from hybrid_attention.evaluation.fold_scores import mean_over_folds, scores_by_fold
from hybrid_attention.evaluation.run_folder import write_evaluation
from hybrid_attention.evaluation.stored import StoredEvaluation, read_evaluation
from hybrid_attention.evaluation.summary import summarize

logger = logging.getLogger(__name__)


def merge_folds(folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Path:
    """Write the union of the test folds of a cross-validation as one run, which reports read like any other.

    All scores are computed anew over all cases. `summary.json` keeps the scores of each fold under `folds`, with mean
    and standard deviation over folds, as papers report them, and per fold what tells where it comes from;
    `per_case.csv` has the column `fold`. Not all folds need be there: the split then says which are. The reliability
    curve is merged where each fold has it, from its bins; the stored ROC curves can't be merged exactly and are left
    out. Pictures stay where they are.

    Args:
        folders: evaluations of one network's recipe on two folds or more, each by the weights trained for that fold.
        out: folder of the merged run, none of `folders`.

    Returns:
        `out`.

    Raises:
        ValueError: fewer than two folds, a damaged run, a split that names no test fold, or runs that don't belong
            together: a case, group, fold or weight file in two of them, or other parts, settings, recipes, columns,
            units or data.
        OSError: `out` can't be written.
    """
    if len(folders) < 2:
        raise ValueError(f"merging needs two folds or more, got {len(folders)}")
    target = Path(out)
    if target.resolve() in [Path(folder).resolve() for folder in folders]:
        raise ValueError(f"{target} is one of the folds; choose another folder for the merged run")
    runs = by_fold([read_evaluation(Path(folder)) for folder in folders])
    check_folds(list(runs.values()))
    rows = [_with_fold(row, fold) for fold, run in runs.items() for row in run.rows]
    records = [run.record for run in runs.values()]
    curve = _merged_calibration(list(runs.values()))
    summary = {
        "synthetic_data": records[0]["synthetic_data"],
        "split": _split(list(runs), records[0]),
        "part": part_of(records[0]),
        "settings": records[0].get("settings"),
        "decision": records[0].get("decision"),
        "score_size": records[0].get("score_size"),
        **summarize(rows),
        "distance_unit": records[0].get("distance_unit"),
        "pixel_roc": None,
        "calibration": _expected_error(curve, records[0]) if curve else None,
        "classification": class_summary(rows),
        "data_sha256": _joint_digest([record.get("data_sha256") for record in records]),
        **_common([{key: record.get(key) for key in ("training", "provenance")} for record in records]),
        "folds": _folds(runs, rows),
    }
    prepare_output_folder(target)
    for name in ("roc.csv", "calibration.csv"):  # of an earlier run
        (target / name).unlink(missing_ok=True)
    if curve:
        write_csv(target / "calibration.csv", curve, list(curve[0]))
    logger.info("%s\nmerged run: %s", write_evaluation(target, rows, summary), target)
    return target


def _with_fold(row: Mapping[str, Any], fold: int) -> dict[str, Any]:
    names = ("case_id", "class", "group")
    return {**{name: row[name] for name in names}, "fold": fold, **row}


def _split(folds: Sequence[int], record: Mapping[str, Any]) -> str:
    """Return the split of the folds with "5 of 5 test folds" in the place of the fold."""

    def named(match: re.Match[str]) -> str:
        count = int(match[2])
        which = "" if len(folds) == count else f" (incomplete: {', '.join(map(str, folds))})"
        return f"{len(folds)} of {count} {part_of(record)} folds{which}"

    return FOLD.sub(named, record["split"])


def _merged_calibration(runs: Sequence[StoredEvaluation]) -> Curve | None:
    """Merge the reliability curves bin by bin: their counts add up; None where a fold has none or other bins."""
    bins = {(run.record.get("calibration") or {}).get("bins") for run in runs}
    curves = [read_curve(run.folder, "calibration") for run in runs]
    if len(bins) > 1 or None in bins or None in curves:
        return None
    rows: dict[float, list[dict[str, float]]] = {}
    for row in (row for curve in curves for row in curve or []):
        rows.setdefault(row["low"], []).append(row)
    merged = []
    for low in sorted(rows):
        pixels = sum(row["pixels"] for row in rows[low])
        means = {
            name: sum(row[name] * row["pixels"] for row in rows[low]) / pixels
            for name in ("mean_probability", "lesion_fraction")
        }
        merged.append({"low": low, "high": rows[low][0]["high"], "pixels": int(pixels), **means})
    return merged


def _expected_error(curve: Curve, record: Mapping[str, Any]) -> dict[str, Any]:
    gaps = sum(row["pixels"] * abs(row["mean_probability"] - row["lesion_fraction"]) for row in curve)
    return {"ece": gaps / sum(row["pixels"] for row in curve), "bins": record["calibration"]["bins"]}


def _joint_digest(digests: Sequence[str | None]) -> str | None:
    """Return one digest of the data of all folds, in their order."""
    if None in digests:
        return None
    return hashlib.sha256("".join(digest or "" for digest in digests).encode()).hexdigest()


def _folds(runs: Mapping[int, StoredEvaluation], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scores = scores_by_fold(rows)
    kept = ("data_sha256", "weights_sha256", "training", "provenance")
    records = [{key: run.record.get(key) for key in kept} for run in runs.values()]
    shared = _common(records)
    return {
        "merged": list(runs),
        "of": fold_of(next(iter(runs.values())))[1],
        "scores": mean_over_folds(scores),
        "runs": [
            {
                "fold": fold,
                "cases": len(run.rows),
                "lesion_cases": run.summary["lesion_cases"],
                "scores": scores[fold],
                "pixel_auc": (run.record.get("pixel_roc") or {}).get("auc"),
                **_own(record, shared),
            }
            for (fold, run), record in zip(runs.items(), records, strict=True)
        ],
        "merged_by": provenance(),
    }


def _common(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is the same in all records, mappings entry by entry."""
    shared: dict[str, Any] = {}
    for key in records[0]:
        values = [record.get(key) for record in records]
        if all(isinstance(value, Mapping) for value in values):
            shared[key] = _common([value for value in values if isinstance(value, Mapping)])
        elif all(value == values[0] for value in values):
            shared[key] = values[0]
    return shared


def _own(record: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record holds beyond what is shared."""
    own: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping) and isinstance(shared.get(key), Mapping):
            own |= {key: rest} if (rest := _own(value, shared[key])) else {}
        elif key not in shared:
            own[key] = value
    return own
