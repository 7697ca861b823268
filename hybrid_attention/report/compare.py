"""The comparison report: tables, figures and one page, from the folders of evaluation runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from hybrid_attention import __version__
from hybrid_attention.evaluation.comparison import FriedmanTest
from hybrid_attention.evaluation.text import plural
from hybrid_attention.report import page
from hybrid_attention.report.class_results import accuracy_table, class_tables
from hybrid_attention.report.figure_files import FIGURES, drawn_figures, write_figures
from hybrid_attention.report.matching import Comparison, match_runs
from hybrid_attention.report.paired_scores import class_scores
from hybrid_attention.report.pictures import embedded_cases, picture_kinds
from hybrid_attention.report.results import score_tables
from hybrid_attention.report.runs import read_run, require_curves
from hybrid_attention.report.settings import common_facts, differences, settings_table
from hybrid_attention.report.significance import friedman, friedman_table, paired_table, why_no_tests
from hybrid_attention.report.table import Table, latex, markdown

_CURVES = ("roc", "calibration")


def compare(
    runs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    intersection: bool = False,
    reference: str | None = None,
    score: str = "dice",
) -> Path:
    """Compare evaluation runs and write `report.html`, `tables.md`, `tables.tex` and `figures/`.

    All files are made before the first is put in place, so that an error leaves `out` as it was. Other files in `out`
    stay.

    Args:
        runs: folders of evaluations, or `NAME=FOLDER`, one or more.
        out: folder of the report.
        intersection: where runs differ in their cases, compare those that all share; otherwise this is an error.
        reference: name of a run to test all others against; None tests all pairs.
        score: of the tests, the figures and the order of cases: "dice", "jaccard", ….

    Returns:
        The path of `report.html`.

    Raises:
        ValueError: a run is damaged, runs can't be compared, or curves or pictures are missing or damaged.
        OSError: `out` can't be written.
        ImportError: matplotlib or scikit-posthocs is missing.
    """
    comparison = match_runs([read_run(run) for run in runs], intersection, reference, score)
    for run in comparison.runs:
        require_curves(run)
    pictures = {run.name: picture_kinds(run) for run in comparison.runs}
    folder = Path(out)
    with _staging(folder) as staging:
        cases = list(embedded_cases(comparison, pictures))
        classes = [(run, scores) for run in comparison.runs if (scores := class_scores(run)) is not None]
        test = friedman(comparison)
        tables = {
            "Results": score_tables(comparison),
            "Classes": class_tables(classes),
            "Significance": _tests(comparison, test),
            "Runs and settings": [settings_table(comparison)],
        }
        drawn = write_figures(staging / "figures", drawn_figures(comparison, test, classes))
        facts, other = _facts(comparison), differences(comparison)
        _write_tables(
            staging,
            comparison,
            [*facts, *(f"The runs differ in {text}." for text in other)],
            [table for each in tables.values() for table in each],
        )
        html = page.rendered(
            comparison,
            facts,
            _sections(comparison, tables, drawn, other),
            pictures,
            cases,
            f"hybrid_attention {__version__}, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC. "
            "Research only, not for a clinical decision.",
        )
        (staging / "report.html").write_text(html, encoding="utf-8")
        _put_in_place(staging, folder)
    return folder / "report.html"


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Make a temporary folder inside the report's, which proves that it can be written."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".part.", dir=folder)
    except OSError as error:
        raise OSError(
            error.errno, f"can't write the report into {folder} ({error.strerror}); choose another --out"
        ) from None
    try:
        with temporary as staging:
            yield Path(staging)
    finally:
        if made and not any(folder.iterdir()):  # nothing came of it
            folder.rmdir()


def _put_in_place(staging: Path, folder: Path) -> None:
    (folder / "figures").mkdir(exist_ok=True)
    for name in FIGURES:  # an earlier report may have drawn more
        for suffix in (".png", ".pdf"):
            (folder / "figures" / f"{name}{suffix}").unlink(missing_ok=True)
    for path in sorted(staging.rglob("*"), key=lambda path: path.name == "report.html"):  # the page comes last
        if path.is_file():
            shutil.move(path, folder / path.relative_to(staging))


def _facts(comparison: Comparison) -> list[str]:
    first = comparison.runs[0]
    lesions, cases = first.summary["lesion_cases"], len(first.rows)
    groups = len({row["group"] for row in first.rows})
    facts = [
        *page.warnings(comparison),
        f"Split: {common_facts(comparison)}.",
        f"{plural(cases, 'case')} in {plural(groups, 'duplicate group')}: "
        f"{lesions} with lesion, {cases - lesions} without.",
        *_merged(comparison),
        "Intervals (95 %) are by bootstrap over duplicate groups: near copies count as one. One run a row: the spread "
        "between seeds is not in them.",
    ]
    if any(comparison.left_out.values()):
        counts = ", ".join(f"{count} of {name}" for name, count in comparison.left_out.items() if count)
        facts.append(
            f"Only the {plural(cases, 'case')} that all runs share {'is' if cases == 1 else 'are'} compared; "
            f"left out: {counts}."
        )
    if groups == 1:
        facts.append("All cases are of one group: the intervals have no width and say nothing.")
    if not lesions:
        facts.append("No image holds a lesion: lesion_only is undefined.")
    return facts


def _merged(comparison: Comparison) -> list[str]:
    """Say which runs are folds put together."""
    texts = []
    for run in comparison.runs:
        if run.recorded("folds"):
            folds, count = run.recorded("folds", "merged"), run.recorded("folds", "of")
            which = "" if len(folds) == count else f" (incomplete: {', '.join(map(str, folds))})"
            texts.append(
                f"{run.name} is {len(folds)} of {count} folds of a cross-validation{which}, each scored with "
                "weights of its own."
            )
    return texts


def _tests(comparison: Comparison, test: FriedmanTest | None) -> list[Table]:
    paired = paired_table(comparison)
    tables = (paired, friedman_table(comparison, test) if test else None, accuracy_table(comparison))
    return [table for table in tables if table is not None]


def _write_tables(folder: Path, comparison: Comparison, facts: Sequence[str], tables: Sequence[Table]) -> None:
    why = why_no_tests(comparison)
    lines = [f"# {page.title(comparison)}\n", *(f"* {fact}" for fact in [*facts, *([why] if why else [])]), ""]
    (folder / "tables.md").write_text("\n".join([*lines, *(markdown(table) for table in tables)]), encoding="utf-8")
    comments = ["% needs \\usepackage{booktabs} and \\usepackage{graphicx}", *(f"% {fact}" for fact in facts), ""]
    (folder / "tables.tex").write_text("\n".join([*comments, *(latex(table) for table in tables)]), encoding="utf-8")


def _sections(
    comparison: Comparison, tables: dict[str, list[Table]], drawn: dict[str, page.Drawing], other: Sequence[str]
) -> list[tuple[str, str]]:
    def shown(names: Sequence[str]) -> str:
        return page.figures_html([drawn[name] for name in names if name in drawn])

    top = [table for table in tables["Results"] if table.key in ("summary", "folds")]
    others = [table for table in tables["Results"] if table not in top]
    why = why_no_tests(comparison)
    tests = (f"<p>{why}</p>" if why else "") + page.tables_html(tables["Significance"]) + shown(["critical_difference"])
    classes = ("Classes", page.tables_html(tables["Classes"]) + shown(["class_confusion"]))
    return [
        (
            "Summary",
            page.notice("These runs differ in more than their network:", other)
            + page.tables_html(top)
            + page.conventions()
            + shown(["distribution"]),
        ),
        ("Significance", tests),
        *([classes] if tables["Classes"] else []),
        ("Curves", shown(_CURVES)),
        ("Confusion of pixels", shown(["pixel_confusion"])),
        ("All scores", page.tables_html(others)),
        ("Runs and settings", page.tables_html(tables["Runs and settings"])),
    ]
