"""Tables of the classes that runs predict."""

from __future__ import annotations

from collections.abc import Sequence

from hybrid_attention.evaluation.comparison import paired_accuracy_tests
from hybrid_attention.evaluation.text import confusion_cells, percent, plural, score_interval, score_title
from hybrid_attention.report.matching import Comparison
from hybrid_attention.report.paired_scores import ClassScores, correct_classes
from hybrid_attention.report.runs import Run
from hybrid_attention.report.significance import paired_row
from hybrid_attention.report.table import Table

_TOGETHER = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_auc": "macro AUC",
    "macro_f1": "macro F1",
}
_MEASURES = ("precision", "sensitivity", "specificity", "f1", "auc")


def class_tables(classes: Sequence[tuple[Run, ClassScores]]) -> list[Table]:
    """Lay out how well runs tell classes apart: all classes together, each alone, and what is taken for what.

    Args:
        classes: the runs that predict classes, and how well.

    Returns:
        Tables; none where no run predicts classes.
    """
    return [_together(classes), _each_class(classes), _confusion(classes)] if classes else []


def accuracy_table(comparison: Comparison) -> Table | None:
    """Lay the pairwise differences of accuracy out; None where there are not two runs with classes to compare.

    Args:
        comparison: the runs.

    Returns:
        A line a pair, all pairs where the reference predicts no classes.
    """
    correct = correct_classes(comparison)
    groups = [row["group"] for row in comparison.runs[0].rows]
    if len(correct) < 2 or len(set(groups)) < 2:
        return None
    tests = paired_accuracy_tests(correct, groups, comparison.reference if comparison.reference in correct else None)
    return Table(
        key="paired-accuracy",
        title="Differences in the accuracy of classes",
        header=("first minus second", "difference (%)", "p (sign flips)", "p (Holm)"),
        rows=[paired_row(test) for test in tests],
        note=(
            f"Over {plural(len(groups), 'image')} in {plural(len(set(groups)), 'duplicate group')}; 95 % intervals by "
            "bootstrap over groups. The test exchanges the two runs in whole groups; were each image a group of its "
            "own, it would be McNemar's exact test. Holm's adjustment is over all tests of this table, "
            f"{len(tests)} in number."
        ),
    )


def _together(classes: Sequence[tuple[Run, ClassScores]]) -> Table:
    return Table(
        key="classes",
        title="Classes of images",
        header=("run", "images", *_TOGETHER.values()),
        rows=[
            (run.name, str(scores["cases"]), *(score_interval(scores[name]) for name in _TOGETHER))
            for run, scores in classes
        ],
        note=(
            "Percent, with 95 % intervals by bootstrap over duplicate groups. Balanced accuracy is the mean "
            "sensitivity of the classes; macro: mean over the classes, each against all others. Undefined if a class "
            "has no case."
        ),
    )


def _each_class(classes: Sequence[tuple[Run, ClassScores]]) -> Table:
    return Table(
        key="each-class",
        title="Each class against all others",
        header=("run: class", "cases", *(score_title(name) for name in _MEASURES)),
        rows=[
            (f"{run.name}: {name}", str(one["cases"]), *(percent(one[score]) for score in _MEASURES))
            for run, scores in classes
            for name, one in scores["classes"].items()
        ],
        note="Percent.",
    )


def _confusion(classes: Sequence[tuple[Run, ClassScores]]) -> Table:
    names = list(dict.fromkeys(name for _, scores in classes for name in scores["class_names"]))
    rows = []
    for run, scores in classes:
        for truth, line in zip(scores["class_names"], scores["confusion"], strict=True):
            cells = dict(zip(scores["class_names"], confusion_cells(line), strict=True))
            rows.append((f"{run.name}: {truth}", *(cells.get(name, "") for name in names)))
    return Table(
        key="class-confusion",
        title="Confusion of classes",
        header=("run: true class", *(f"taken for {name}" for name in names)),
        rows=rows,
        note="Images, and their share of the line: of the images of the true class.",
    )
