"""Comparison report of evaluation runs: tables, figures and an HTML page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from hybrid_attention import __version__
from hybrid_attention.data.writing import prepare_output_folder
from hybrid_attention.evaluation.cross_validation import merged_count
from hybrid_attention.evaluation.formatting import is_defined, plural
from hybrid_attention.evaluation.metrics.classification import class_summary
from hybrid_attention.evaluation.results import CURVES, read_evaluation, write_text
from hybrid_attention.report import page
from hybrid_attention.report.case_figures import MAX_MODELS, draw_cases
from hybrid_attention.report.figures import draw_comparison, draw_trainings, write_figures
from hybrid_attention.report.matched_runs import Comparison, common_facts, differences, match_runs, settings_table
from hybrid_attention.report.tables import (
    class_tables,
    friedman,
    latex,
    score_tables,
    significance_tables,
    why_no_tests,
)


def compare(
    runs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    intersection: bool = False,
    reference: str | None = None,
    score: str = "dice",
    cases: Sequence[str] = (),
) -> Path:
    """Compare evaluation runs and write `report.html`, `tables.md`, `tables.tex` and `figures/`.

    On an error, `out` is left unchanged. Other files in `out` are kept.

    Args:
        runs: folders of evaluations, or `NAME=FOLDER`, one or more.
        out: folder of the report.
        intersection: compare only the cases that all runs share; otherwise differing cases are an error.
        reference: name of a run to test all others against; None tests all pairs.
        score: score of the tests, the figures and the order of cases: "dice", "jaccard", ….
        cases: cases to draw, see `draw_cases`.

    Raises:
        ValueError: a run is damaged, runs can't be compared, curves or pictures are missing or damaged, or `cases`
            can't be drawn.
    """
    comparison = match_runs([read_evaluation(run) for run in runs], intersection, reference, score)
    for run in comparison.runs:
        for curve, (key, number) in CURVES.items():
            value = run.recorded(key, number)
            if is_defined(value) and getattr(run, curve) is None:
                raise ValueError(
                    f"{run.name}: the curve file {run.folder / curve}.csv is missing, though summary.json records "
                    f"{key}.{number} {value}; evaluate again, or restore it"
                )
    pictures = {run.name: page.picture_kinds(run) for run in comparison.runs}
    embedded = list(page.embedded_cases(comparison, pictures))
    classes = {run.name: found for run in comparison.runs if (found := class_summary(run.cases)) is not None}
    test, other, why = friedman(comparison), differences(comparison), why_no_tests(comparison)
    scores = score_tables(comparison)
    top = [table for table in scores if table.key in ("summary", "folds")]
    tables = {
        "Summary": top,
        "All scores": [table for table in scores if table not in top],
        "Classes": class_tables(classes),
        "Significance": significance_tables(comparison, test),
        "Runs and settings": [settings_table(comparison)],
    }
    figures = {
        **draw_comparison(comparison, test, classes),
        **draw_trainings(comparison.runs),
        **draw_cases(comparison, pictures, cases),
    }
    facts = _facts(comparison)
    if "samples" in figures and "cases" not in figures and any(run.summary["lesion_cases"] for run in comparison.runs):
        facts.append(f"No grid of cases, which shows at most {MAX_MODELS} models: compare fewer runs for one.")
    footer = (
        f"hybrid_attention {__version__}, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC. "
        "For research only, not for clinical decisions."
    )
    html = page.render(comparison, facts, tables, figures, pictures, embedded, footer, other, why)
    later = [table for section in list(tables)[2:] for table in tables[section]]
    sentences = [*facts, *(f"The runs differ in {text}." for text in other), *([why] if why else [])]
    folder = prepare_output_folder(out)
    write_figures(folder / "figures", figures)
    lines = [f"# {page.title(comparison)}\n", *(f"* {text}" for text in sentences), ""]
    write_text(folder / "tables.md", "\n".join([*lines, *(table.markdown() for table in [*scores, *later])]))
    lines = ["% needs \\usepackage{booktabs} and \\usepackage{graphicx}", *(f"% {text}" for text in sentences), ""]
    write_text(folder / "tables.tex", "\n".join([*lines, *(latex(table) for table in [*scores, *later])]))
    write_text(folder / "report.html", html)
    return folder / "report.html"


def _facts(comparison: Comparison) -> list[str]:
    first = comparison.runs[0]
    lesions, cases = first.summary["lesion_cases"], len(first.cases)
    groups = first.cases["group"].nunique()
    facts = [
        *page.warnings(comparison),
        f"Split: {common_facts(comparison)}.",
        f"{plural(cases, 'case')} in {plural(groups, 'duplicate group')}: "
        f"{lesions} with lesion, {cases - lesions} without.",
        *(
            f"{run.name}: {merged_count(folds['merged'], folds['of'], 'folds of a cross-validation')}, each scored "
            "with its own weights."
            for run in comparison.runs
            if (folds := run.recorded("folds"))
        ),
        "95 % intervals by bootstrap over duplicate groups: near-duplicates count as one. They do not cover the spread "
        "between seeds.",
    ]
    if any(comparison.left_out.values()):
        counts = ", ".join(f"{count} of {name}" for name, count in comparison.left_out.items() if count)
        facts.append(
            f"Only the {plural(cases, 'case')} that all runs share {'is' if cases == 1 else 'are'} compared; "
            f"left out: {counts}."
        )
    if groups == 1:
        facts.append("All cases are of one group: the intervals have no width and are meaningless.")
    if not lesions:
        facts.append("No image has a lesion: lesion_only is undefined.")
    return facts
