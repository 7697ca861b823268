"""Bring the small files of finished runs together: folds into one table, tables into the repository, a report."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

from hybrid_attention.data.files import atomic_path
from hybrid_attention.experiments.plan import Plan, Run
from hybrid_attention.experiments.run_folder import MANIFEST, RunFolder, changed_configs, check_unchanged

ALL_FOLDS = "all_folds"
_TABLES = ("per_case.csv", "summary.json", "roc.csv", "calibration.csv")

logger = logging.getLogger(__name__)


def merge_folds_done(plan: Plan, out: Path) -> dict[str, str]:
    """Make one table of the folds that are done of each run and seed, where these are two or more.

    It lies in OUT/LIST/RUN/seed_S/all_folds, and is made anew when another fold is done.

    Args:
        plan: the runs.
        out: folder of all results.

    Returns:
        By run and seed (`han/seed_0`), why the folds of some can't be merged; the others are.
    """
    failures = {}
    for folders in _done(plan, out):
        try:
            _merge(folders)
        except (ValueError, OSError) as error:
            failures[folders[0].run.group] = str(error)
    return failures


def _merge(folders: list[RunFolder]) -> None:
    union = _union(folders)
    part = folders[0].run.headline_part
    if len(folders) == 1 or part == "train":  # the training parts of the folds overlap
        shutil.rmtree(union, ignore_errors=True)  # of folds that were removed since
    elif not _is_fresh(union / "summary.json", folders):
        from hybrid_attention.evaluation import merge_folds

        merge_folds([folder.evaluation(part) for folder in folders], union)


def _is_fresh(summary: Path, folders: list[RunFolder]) -> bool:
    """Tell whether a union is of these folds as they are now."""
    if not summary.is_file():
        return False
    merged = json.loads(summary.read_text(encoding="utf-8"))["folds"]["merged"]
    newest = max((folder.path / MANIFEST).stat().st_mtime for folder in folders)
    return sorted(merged) == sorted(folder.run.fold for folder in folders) and summary.stat().st_mtime >= newest


def collect(plan: Plan, out: str | os.PathLike[str], results: str | os.PathLike[str]) -> list[Path]:
    """Copy the small files of finished runs, each by rename.

    A run's table lies in RESULTS/LIST/RUN; where several folds are done it is their union, and each fold's files lie in
    `fold_F` below it. With several seeds all this lies in `seed_S`. Where folds can't be merged, what was collected
    earlier stays.

    Args:
        plan: the runs.
        out: folder of all results.
        results: folder to copy to, `docs/results`.

    Returns:
        The folders written to.

    Raises:
        FileNotFoundError: a file of a finished run is gone.
        ValueError: a run was started with another definition than the list's; or, once all else is written, folds can't
            be merged.
    """
    done, failures = _merged(plan, Path(out).resolve())
    written = []
    for folders in done:
        home = Path(results) / plan.name / _place(plan, folders[0].run)
        for folder in folders:
            target = home if len(folders) == 1 else home / f"fold_{folder.run.fold}"
            _copy(_small_files(folder), target)
            written.append(target)
        union = _union(folders)
        if len(folders) > 1 and union.is_dir():
            _copy({name: union / name for name in _TABLES if (union / name).is_file()}, home)
            written.append(home)
    _tell(failures)
    return written


def report(plan: Plan, out: str | os.PathLike[str], reports: str | os.PathLike[str]) -> Path | None:
    """Write the comparison of the finished runs, on the cases that all share where they differ in folds or classes.

    A run whose folds can't be merged is left out.

    Args:
        plan: the runs.
        out: folder of all results.
        reports: the page is REPORTS/LIST/report.html.

    Returns:
        The page; None where no run is finished.

    Raises:
        ValueError: a run was started with another definition than the list's; or, once the page is written, folds can't
            be merged.
    """
    from hybrid_attention.report import compare

    merged, failures = _merged(plan, Path(out).resolve())
    parts = {run.headline_part for run in plan.runs}
    part = "test" if "test" in parts else plan.runs[0].headline_part
    done, named = [folders for folders in merged if folders[0].run.headline_part == part], []
    for folders in done:
        table = _union(folders) if len(folders) > 1 else folders[0].evaluation(part)
        named.append(f"{_place(plan, folders[0].run).replace('/', ' ')}={table}")
    page = compare(named, Path(reports) / plan.name, intersection=True) if named else None
    _tell(failures)
    return page


def _merged(plan: Plan, out: Path) -> tuple[list[list[RunFolder]], dict[str, str]]:
    """Merge what is done; return the folds of each run and seed where that worked, and why it didn't for others."""
    check_unchanged(plan, out)
    for note in changed_configs(plan, out):
        logger.warning("note: %s", note)
    failures = merge_folds_done(plan, out)
    return [folders for folders in _done(plan, out) if folders[0].run.group not in failures], failures


def _tell(failures: dict[str, str]) -> None:
    if failures:
        head = "these folds can't be merged, all others are written; remove a fold's folder to run it anew:"
        raise ValueError("\n  ".join([head, *(f"{group}: {reason}" for group, reason in failures.items())]))


def _done(plan: Plan, out: Path) -> list[list[RunFolder]]:
    """List the finished folds of each run and seed that has some."""
    groups: dict[str, list[RunFolder]] = {}
    for run in plan.runs:
        folder = RunFolder(out, run)
        if folder.progress().state == "done":
            groups.setdefault(run.group, []).append(folder)
    return list(groups.values())


def _union(folders: list[RunFolder]) -> Path:
    return folders[0].path.parent / ALL_FOLDS


def _place(plan: Plan, run: Run) -> str:
    seeds = {other.seed for other in plan.runs if other.name == run.name}
    return run.name if len(seeds) == 1 else run.group


def _small_files(folder: RunFolder) -> dict[str, Path]:
    """Name the files of a run as the results have them; the manifest comes last."""
    files = {}
    for part in folder.run.parts:
        evaluation = folder.evaluation(part)
        if part == folder.run.headline_part:
            files.update({name: evaluation / name for name in _TABLES[:2]})
            files.update({name: evaluation / name for name in _TABLES[2:] if (evaluation / name).is_file()})
        else:
            files[f"summary_{part}.json"] = evaluation / "summary.json"
    return {**files, "history.csv": folder.path / "history.csv", MANIFEST: folder.path / MANIFEST}


def _copy(files: dict[str, Path], target: Path) -> None:
    for name, source in files.items():
        if not source.is_file():
            raise FileNotFoundError(f"{source} of a finished run is gone; remove {MANIFEST} beside it to run it again")
        with atomic_path(target / name) as temporary:
            shutil.copyfile(source, temporary)
    for path in (*target.glob("*.csv"), *target.glob("*.json")):  # of an earlier collection
        if path.name not in files:
            path.unlink()
