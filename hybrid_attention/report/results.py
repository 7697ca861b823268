"""Tables of what each run scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_attention.evaluation.fold_scores import FOLD_SCORES, mean_over_folds, scores_by_fold
from hybrid_attention.evaluation.summary import CONVENTIONS
from hybrid_attention.evaluation.surface import DISTANCES
from hybrid_attention.evaluation.text import UNDEFINED, number, percent, score_interval, score_spread, score_title
from hybrid_attention.report.matching import Comparison
from hybrid_attention.report.runs import SHOWN_SCORES, Run
from hybrid_attention.report.table import Table

_INTERVALS = "Percent, with 95 % intervals by bootstrap over duplicate groups."
_SAME_MEANS = (
    " Every image holds a lesion: the three means over images agree but for precision, of which empty_is_one and "
    "empty_is_zero count 0 where nothing is marked."
)


def score_tables(comparison: Comparison) -> list[Table]:
    """Lay the scores of masks out: one of them under all conventions, all of them under each, then everything else.

    Args:
        comparison: the runs.

    Returns:
        Tables with a line a run.
    """
    tables = [_headline(comparison), *_by_convention(comparison), _other_scores(comparison)]
    merged = [run for run in comparison.runs if run.recorded("folds")]
    return [*tables, _over_folds(merged)] if merged else tables


def _headline(comparison: Comparison) -> Table:
    name, first = comparison.score, comparison.runs[0].summary
    rows = []
    for run in comparison.runs:
        scores = {convention: run.summary[convention][name] for convention in CONVENTIONS}
        cells = {convention: score_interval(score) for convention, score in scores.items()}
        median = percent(scores["lesion_only"].get("median"))
        rows.append((run.name, cells.pop("lesion_only"), median, *cells.values()))
    others = [convention for convention in CONVENTIONS if convention != "lesion_only"]
    return Table(
        key="summary",
        title=f"{score_title(name).capitalize()} under each convention",
        header=("run", "lesion_only", "median of lesion_only", *others),
        rows=rows,
        note=f"{_INTERVALS}{_SAME_MEANS if _all_lesions(first) else ''}{_without_lesions(first)}",
    )


def _all_lesions(summary: Mapping[str, Any]) -> bool:
    return bool(summary["cases"] == summary["lesion_cases"])


def _without_lesions(summary: Mapping[str, Any]) -> str:
    return "" if summary["lesion_cases"] else f" No image holds a lesion: lesion_only is undefined ({UNDEFINED})."


def _by_convention(comparison: Comparison) -> list[Table]:
    same = _all_lesions(comparison.runs[0].summary)
    header = ("run", *(score_title(name) for name in SHOWN_SCORES))
    tables: list[Table] = []
    for convention, meaning in CONVENTIONS.items():
        if same and convention.startswith("empty"):
            continue
        rows = [
            (run.name, *(score_interval(run.summary[convention][name]) for name in SHOWN_SCORES))
            for run in comparison.runs
        ]
        note = f"{meaning.capitalize()}. {_INTERVALS}{_undefined_precision(comparison, convention)}"
        if not tables:
            note += " F1 is the same number as Dice." + (_SAME_MEANS if same else "")
        tables.append(Table(f"scores-{convention}", f"All scores, {convention}", header, rows, note))
    return tables


def _undefined_precision(comparison: Comparison, convention: str) -> str:
    """Count the images that a mean leaves out because nothing is marked in them."""
    if convention != "lesion_only":
        return ""
    left_out = {
        run.name: run.summary["lesion_cases"] - run.summary[convention]["precision"]["images"]
        for run in comparison.runs
    }
    texts = [f"{count} of {name}" for name, count in left_out.items() if count]
    return f" Precision is without images in which nothing is marked: {', '.join(texts)}." if texts else ""


def _other_scores(comparison: Comparison) -> Table:
    units = sorted({str(run.recorded("distance_unit") or "pixel") for run in comparison.runs})
    several = len(units) > 1
    header = (
        "run",
        *(name if several else f"{name} ({units[0]})" for name in DISTANCES),
        "without distance",
        "lesions found (%)",
        "marks that are lesions (%)",
        "false lesions an image",
        "images without lesion, marked (%)",
        "pixel AUC",
        "ECE of pixels",
    )
    return Table(
        key="other",
        title="Distances, lesions, probabilities",
        header=header,
        rows=[_other_row(run, several) for run in comparison.runs],
        note=(
            "Distances are means over the lesion images in which something is marked, with 95 % intervals; without "
            f"distance: lesion images in which nothing is.{_pixel_unit(units)} The AUC lies "
            "within its bound (±) of the area without bins; "
            "ECE: expected calibration error. "
            f"{UNDEFINED}: undefined or not recorded.{_missing_curves(comparison)}"
        ),
    )


def _pixel_unit(units: Sequence[str]) -> str:
    return (
        " A pixel of a distance is one of the image file, whatever size the network sees." if "pixel" in units else ""
    )


def _other_row(run: Run, with_unit: bool) -> tuple[str, ...]:
    scores = run.summary["lesion_only"]
    unit = f" {run.recorded('distance_unit') or 'pixel'}" if with_unit else ""
    distances = [_distance(scores.get(name), unit) for name in DISTANCES]
    measured = scores.get(DISTANCES[0])
    found = run.summary.get("lesion_detection") or {}
    false_lesions = found.get("false_lesions_per_image")
    return (
        run.name,
        *distances,
        str(run.summary["lesion_cases"] - measured["images"]) if measured else UNDEFINED,
        score_interval(found.get("sensitivity")),
        score_interval(found.get("precision")),
        _plain_interval(false_lesions, "value", 2),
        percent(run.summary["false_positive_rate_without_lesion"]),
        _auc(run),
        number(run.recorded("calibration", "ece"), 4),
    )


def _distance(score: Mapping[str, float] | None, unit: str) -> str:
    text = _plain_interval(score, "mean", 1)
    return text if text == UNDEFINED else text + unit


def _plain_interval(score: Mapping[str, float] | None, value: str, digits: int) -> str:
    if score is None or number(score[value], digits) == UNDEFINED:
        return UNDEFINED
    return f"{score[value]:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"


def _auc(run: Run) -> str:
    area, bound = run.recorded("pixel_roc", "auc"), run.recorded("pixel_roc", "error_bound")
    text = number(area, 4)
    return text if text == UNDEFINED or bound is None else f"{text} ± {bound:.1g}"


def _missing_curves(comparison: Comparison) -> str:
    """Say which runs have no ROC or reliability curve, and why."""
    reasons = []
    for run in comparison.runs:
        if comparison.left_out[run.name]:
            reasons.append(f"{run.name}: its curves are over all its cases, not the shared ones, and are left out")
        elif run.recorded("folds"):
            reasons.append(f"{run.name}: the ROC curves of folds can't be merged exactly and are left out")
        elif run.recorded("pixel_roc") is None:
            reasons.append(f"{run.name}: no ROC curve recorded")
        elif number(run.recorded("pixel_roc", "auc"), 4) == UNDEFINED:
            reasons.append(f"{run.name}: AUC undefined: all predictions alike or only one class")
    return f" {'; '.join(reasons)}." if reasons else ""


def _over_folds(runs: Sequence[Run]) -> Table:
    """Lay the mean and spread over the folds of merged runs out, computed from their cases."""
    spreads = {run.name: mean_over_folds(scores_by_fold(run.rows)) for run in runs}
    names = [name for name in FOLD_SCORES if any(name in spread for spread in spreads.values())]
    return Table(
        key="folds",
        title="Mean and spread over folds",
        header=("run", "folds", *(FOLD_SCORES[name] for name in names)),
        rows=[
            (
                run.name,
                f"{len({row['fold'] for row in run.rows})} of {run.recorded('folds', 'of')}",
                *(score_spread(spreads[run.name].get(name)) for name in names),
            )
            for run in runs
        ],
        note=(
            "Percent; mean ± standard deviation (n - 1) of the folds' own scores, each fold counting once, as papers "
            "report cross-validation. The other tables score all cases of the folds together. A fold in which a score "
            "is undefined is left out of its mean."
        ),
    )
