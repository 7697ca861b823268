"""Tables of a comparison as Markdown and LaTeX; for HTML, see `page.html.j2`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_attention.evaluation.cross_validation import mean_over_folds, scores_by_fold
from hybrid_attention.evaluation.formatting import (
    UNDEFINED,
    Table,
    confusion_cells,
    is_defined,
    number,
    p_value,
    percent,
    percent_interval,
    plural,
    score_interval,
    score_spread,
    score_title,
)
from hybrid_attention.evaluation.metrics.classification import CLASS_MEASURES
from hybrid_attention.evaluation.metrics.segmentation import DISTANCES
from hybrid_attention.evaluation.results import Evaluation
from hybrid_attention.evaluation.statistics import (
    FriedmanTest,
    PairedTest,
    friedman_test,
    paired_accuracy_tests,
    paired_tests,
)
from hybrid_attention.evaluation.summary import CONVENTIONS, FOLD_SCORES
from hybrid_attention.report.matched_runs import SHOWN_SCORES, Comparison, correct_classes, paired_scores

_INTERVALS = "Percent, with 95 % intervals by bootstrap over duplicate groups."
_SAME_MEANS = (
    " Every image has a lesion: the three means over images agree except for precision, which empty_is_one and "
    "empty_is_zero count as 0 for empty predictions."
)
_CLASSES_TOGETHER = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_auc": "macro AUC",
    "macro_f1": "macro F1",
}
_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "\n": " ",
}
_WIDE = 90  # LaTeX rows with more characters are scaled to the line width


def latex(table: Table) -> str:
    """Return a table with caption and label as LaTeX for booktabs and graphicx.

    pandas' LaTeX neither scales wide tables to the line width nor typesets minus signs.
    """
    columns = "l" * len(table.header) if table.texts else "l" + "r" * (len(table.header) - 1)
    lines = [" & ".join(_latex_text(text) for text in row) + r" \\" for row in (table.header, *table.rows)]
    widths = [max(len(row[index]) for row in (table.header, *table.rows)) for index in range(len(table.header))]
    wide = sum(widths) > _WIDE
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize",
            rf"\caption{{{_latex_text(' '.join(text for text in (table.title + '.', table.note) if text))}}}",
            rf"\label{{tab:{table.key}}}",
            *([r"\resizebox{\linewidth}{!}{%"] if wide else []),
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}" + ("}" if wide else ""),
            r"\end{table}",
            "",
        ]
    )


def _latex_text(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)


def score_tables(comparison: Comparison) -> list[Table]:
    """Make the tables of segmentation scores, one row per run: the chosen score, all scores, scores over folds."""
    tables = [_headline(comparison), *_by_convention(comparison), _other_scores(comparison)]
    merged = [run for run in comparison.runs if run.recorded("folds")]
    return [*tables, _over_folds(merged)] if merged else tables


def class_tables(classes: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Make the tables of classification scores and the confusion matrix, by run from its `class_summary`."""
    if not classes:
        return []
    together, each, confusion = [], [], []
    names = list(dict.fromkeys(name for scores in classes.values() for name in scores["class_names"]))
    for run, scores in classes.items():
        intervals = {title: score_interval(scores[name]) for name, title in _CLASSES_TOGETHER.items()}
        together.append({"run": run, "images": str(scores["cases"]), **intervals})
        for name, line in zip(scores["class_names"], scores["confusion"], strict=True):
            one = scores["classes"][name]
            measures = {score_title(score): percent(one[score]) for score in CLASS_MEASURES}
            each.append({"run: class": f"{run}: {name}", "cases": str(one["cases"]), **measures})
            cells = dict(zip(scores["class_names"], confusion_cells(line), strict=True))
            shares = {f"predicted {other}": cells.get(other, "") for other in names}
            confusion.append({"run: true class": f"{run}: {name}", **shares})
    note = (
        f"{_INTERVALS} Balanced accuracy is the mean sensitivity of the classes; macro: mean over the classes, "
        "one-vs-rest. Undefined if a class has no case."
    )
    counts = "Number of images, and share of the images of the true class."
    return [
        Table.of("classes", "Classes of images", together, note),
        Table.of("each-class", "Scores per class (one-vs-rest)", each, "Percent."),
        Table.of("class-confusion", "Confusion matrix of classes", confusion, counts),
    ]


def why_no_tests(comparison: Comparison) -> str:
    """Return the reason why there are no tests, or an empty string."""
    if len(comparison.runs) == 1:
        return "No tests: there is only one run."
    groups = len(set(paired_scores(comparison).groups))
    if groups < 2:
        return f"No tests: they need at least two groups of images with a lesion, got {groups}."
    return ""


def friedman(comparison: Comparison) -> FriedmanTest | None:
    """Run the Friedman test; None for fewer than three runs or two groups of cases."""
    if len(comparison.runs) < 3 or why_no_tests(comparison):
        return None
    paired = paired_scores(comparison)
    return friedman_test(paired.scores, paired.groups)


def significance_tables(comparison: Comparison, friedman: FriedmanTest | None) -> list[Table]:
    """Make the tables of statistical tests: pairwise, Friedman, and of classification accuracy, as far as possible."""
    all_runs = None if friedman is None else _friedman_table(comparison, friedman)
    tables = (_paired_table(comparison), all_runs, _accuracy_table(comparison))
    return [table for table in tables if table is not None]


def _headline(comparison: Comparison) -> Table:
    name, first = comparison.score, comparison.runs[0].summary
    rows = []
    for run in comparison.runs:
        cells = {convention: score_interval(run.summary[convention][name]) for convention in CONVENTIONS}
        median = {"median of lesion_only": percent(run.summary["lesion_only"][name]["median"])}
        rows.append({"run": run.name, "lesion_only": "", **median, **cells})
    no_lesion = "" if first["lesion_cases"] else f" No image has a lesion: lesion_only is undefined ({UNDEFINED})."
    note = f"{_INTERVALS}{_SAME_MEANS if first['cases'] == first['lesion_cases'] else ''}{no_lesion}"
    return Table.of("summary", f"{score_title(name).capitalize()} under each convention", rows, note)


def _by_convention(comparison: Comparison) -> list[Table]:
    first = comparison.runs[0].summary
    same = first["cases"] == first["lesion_cases"]
    header = ("run", *(score_title(name) for name in SHOWN_SCORES))
    tables = []
    for convention, meaning in CONVENTIONS.items():
        if same and convention.startswith("empty"):
            continue
        rows = [
            (run.name, *(score_interval(run.summary[convention][name]) for name in SHOWN_SCORES))
            for run in comparison.runs
        ]
        note = f"{meaning.capitalize()}. {_INTERVALS}"
        if convention == "lesion_only":
            empty = [
                f"{count} of {run.name}"
                for run in comparison.runs
                if (count := run.summary["lesion_cases"] - run.summary["lesion_only"]["precision"]["images"])
            ]
            note += f" Precision excludes images with an empty prediction: {', '.join(empty)}." if empty else ""
            note += f" F1 equals Dice.{_SAME_MEANS if same else ''}"
        tables.append(Table(f"scores-{convention}", f"All scores, {convention}", header, rows, note))
    return tables


def _other_scores(comparison: Comparison) -> Table:
    units = sorted({str(run.recorded("distance_unit") or "pixel") for run in comparison.runs})
    pixel = " Distances in pixels refer to the image file, not to the network's input size."
    note = (
        "Distances are means over the lesion images with a prediction, with 95 % intervals; without distance: "
        f"number of lesion images without one.{pixel if 'pixel' in units else ''} ± of the AUC: bound of the "
        "error from binning. ECE: expected calibration error. "
        f"{UNDEFINED}: undefined or not recorded.{_missing_curves(comparison)}"
    )
    rows = [_other_row(run, units) for run in comparison.runs]
    return Table.of("other", "Distances, lesions, probabilities", rows, note)


def _other_row(run: Evaluation, units: Sequence[str]) -> dict[str, str]:
    scores, found = run.summary["lesion_only"], run.summary.get("lesion_detection") or {}
    distances = {}
    for name in DISTANCES:
        text = _plain_interval(scores.get(name), "mean", 1)
        if len(units) == 1:
            distances[f"{name} ({units[0]})"] = text
        else:
            distances[name] = text if text == UNDEFINED else f"{text} {run.recorded('distance_unit') or 'pixel'}"
    measured = scores.get(DISTANCES[0])
    area, bound = number(run.recorded("pixel_roc", "auc"), 4), run.recorded("pixel_roc", "error_bound")
    return {
        "run": run.name,
        **distances,
        "without distance": str(run.summary["lesion_cases"] - measured["images"]) if measured else UNDEFINED,
        "lesion sensitivity (%)": score_interval(found.get("sensitivity")),
        "lesion precision (%)": score_interval(found.get("precision")),
        "false positives per image": _plain_interval(found.get("false_lesions_per_image"), "value", 2),
        "false-positive rate on normal images (%)": percent(run.summary["false_positive_rate_without_lesion"]),
        "pixel AUC": area if area == UNDEFINED or bound is None else f"{area} ± {bound:.1g}",
        "ECE of pixels": number(run.recorded("calibration", "ece"), 4),
    }


def _plain_interval(score: Mapping[str, float] | None, value: str, digits: int) -> str:
    if score is None or not is_defined(score[value]):
        return UNDEFINED
    return f"{score[value]:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"


def _missing_curves(comparison: Comparison) -> str:
    """Return which runs have no ROC or reliability curve, and why."""
    reasons = []
    for run in comparison.runs:
        if comparison.left_out[run.name]:
            reasons.append(f"{run.name}: curves left out, since they cover all its cases, not only the shared ones")
        elif run.recorded("folds"):
            reasons.append(f"{run.name}: no ROC curve, since those of folds can't be merged exactly")
        elif run.recorded("pixel_roc") is None:
            reasons.append(f"{run.name}: no ROC curve recorded")
        elif not is_defined(run.recorded("pixel_roc", "auc")):
            reasons.append(f"{run.name}: AUC undefined: all predictions are equal or only one class")
    return f" {'; '.join(reasons)}." if reasons else ""


def _over_folds(runs: Sequence[Evaluation]) -> Table:
    """Make the table of mean and standard deviation over the folds of merged runs."""
    spreads: dict[str, dict[str, Any]] = {run.name: mean_over_folds(scores_by_fold(run.cases)) for run in runs}
    names = [name for name in FOLD_SCORES if any(name in spread for spread in spreads.values())]
    rows = [
        {
            "run": run.name,
            "folds": f"{run.cases['fold'].nunique()} of {run.recorded('folds', 'of')}",
            **{FOLD_SCORES[name]: score_spread(spreads[run.name].get(name)) for name in names},
        }
        for run in runs
    ]
    note = (
        "Percent; mean ± standard deviation (n - 1) of the scores per fold. The other tables score all cases of "
        "the folds together. Folds with an undefined score are excluded from its mean."
    )
    return Table.of("folds", "Mean and spread over folds", rows, note)


def _paired_table(comparison: Comparison) -> Table | None:
    if why_no_tests(comparison):
        return None
    paired = paired_scores(comparison)
    tests = paired_tests(paired.scores, paired.groups, comparison.reference)
    reasons = ((paired.without_lesion, "without lesion"), (paired.undefined, "undefined in a run"))
    left_out = [f"{count} {reason}" for count, reason in reasons if count]
    cases = f"{plural(len(paired.groups), 'image')} with lesion"
    cases += f" (left out: {', '.join(left_out)})" if left_out else ""
    note = (
        f"Means over {cases}; 95 % intervals by bootstrap over duplicate groups. Wilcoxon signed-rank test on the "
        f"means of the {tests[0].groups} groups."
    )
    return _test_table(
        "paired", f"Differences in {score_title(comparison.score).capitalize()}", "Wilcoxon", tests, note
    )


def _accuracy_table(comparison: Comparison) -> Table | None:
    """Make the table of accuracy differences; all pairs if the reference predicts no classes."""
    correct, groups = correct_classes(comparison), comparison.runs[0].cases["group"].tolist()
    if len(correct) < 2 or len(set(groups)) < 2:
        return None
    tests = paired_accuracy_tests(correct, groups, comparison.reference if comparison.reference in correct else None)
    note = (
        f"Over {plural(len(groups), 'image')} in {plural(len(set(groups)), 'duplicate group')}; 95 % intervals by "
        "bootstrap over groups. Permutation test that exchanges the two runs in whole groups; with one image per "
        "group, McNemar's exact test."
    )
    return _test_table("paired-accuracy", "Differences in classification accuracy", "permutation", tests, note)


def _test_table(key: str, title: str, test: str, tests: Sequence[PairedTest], note: str) -> Table:
    rows = [
        {
            "first minus second": f"{one.first} - {one.second}",
            "difference (%)": percent_interval(one.difference, one.low, one.high, signed=True),
            f"p ({test})": p_value(one.p_value),
            "p (Holm)": p_value(one.p_holm),
        }
        for one in tests
    ]
    return Table.of(key, title, rows, f"{note} Holm adjustment over all tests of this table ({len(tests)}).")


def _friedman_table(comparison: Comparison, test: FriedmanTest) -> Table:
    """Make the table of mean ranks and Nemenyi's p-values, one row per run."""
    names, whole = list(test.mean_ranks), p_value(test.p_value)
    relation = whole if whole.startswith("<") else f"= {whole}"
    rows = [
        {
            "run": one,
            "mean rank": f"{rank:.2f}",
            **{f"p against {other}": "" if one == other else p_value(test.nemenyi.loc[one, other]) for other in names},
        }
        for one, rank in test.mean_ranks.items()
    ]
    note = (
        f"Friedman chi-square {test.statistic:.2f}, p {relation}, over the ranks of "
        f"{score_title(comparison.score).capitalize()} in {test.groups} groups (rank 1 is best). "
        f"Pairwise Nemenyi test: mean ranks closer than {test.critical_difference:.2f} are not significantly "
        "different at the 5 % level."
    )
    return Table.of("friedman", "Friedman and Nemenyi tests", rows, note)
