"""Bring the small files of finished runs together: folds into one table, tables into the repository, a report."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hybrid_attention.data.files import atomic_path
from hybrid_attention.experiments.plan import Plan, Run
from hybrid_attention.experiments.run_folder import MANIFEST, RunFolder

ALL_FOLDS = "all_folds"
_TABLES = ("per_case.csv", "summary.json", "roc.csv", "calibration.csv")


def merge_complete_folds(plan: Plan, out: Path) -> list[Path]:
    """Make one table of the test folds of each run and seed whose folds are all done.

    Args:
        plan: the runs.
        out: folder of all results.

    Returns:
        The folders OUT/LIST/RUN/seed_S/all_folds that are there, made now or earlier.
    """
    merged = []
    for runs in _groups(plan).values():
        folders = [RunFolder(out, run) for run in runs]
        if len(runs) == 1 or "test" not in runs[0].parts or not all(_is_done(folder) for folder in folders):
            continue
        union = folders[0].path.parent / ALL_FOLDS
        newest = max((folder.path / MANIFEST).stat().st_mtime for folder in folders)
        summary = union / "summary.json"
        if not summary.is_file() or summary.stat().st_mtime < newest:
            from hybrid_attention.evaluation import merge_folds

            merge_folds([folder.evaluation("test") for folder in folders], union)
        merged.append(union)
    return merged


def collect(plan: Plan, out: str | os.PathLike[str], results: str | os.PathLike[str]) -> list[Path]:
    """Copy the small files of finished runs, each by rename.

    A run's table lies in RESULTS/LIST/RUN; with several folds the united table lies there and each fold's files in
    `fold_F` below it; with several seeds all this lies in `seed_S`.

    Args:
        plan: the runs.
        out: folder of all results.
        results: folder to copy to, `docs/results`.

    Returns:
        The folders written to.

    Raises:
        FileNotFoundError: a file of a finished run is gone.
    """
    out = Path(out).resolve()
    merge_complete_folds(plan, out)
    written = []
    for runs in _groups(plan).values():
        home = Path(results) / plan.name / _place(plan, runs[0])
        for run in runs:
            folder = RunFolder(out, run)
            if _is_done(folder):
                target = home if len(runs) == 1 else home / f"fold_{run.fold}"
                _copy(_small_files(folder), target)
                written.append(target)
        union = out / plan.name / runs[0].group / ALL_FOLDS
        if len(runs) > 1 and all(_is_done(RunFolder(out, run)) for run in runs) and union.is_dir():
            _copy({name: union / name for name in _TABLES if (union / name).is_file()}, home)
            written.append(home)
    return written


def report(plan: Plan, out: str | os.PathLike[str], reports: str | os.PathLike[str]) -> Path | None:
    """Write the comparison of the finished runs; where they differ in their folds, on the cases that all share.

    Args:
        plan: the runs.
        out: folder of all results.
        reports: the page is REPORTS/LIST/report.html.

    Returns:
        The page; None where no run is finished.
    """
    from hybrid_attention.report import compare

    out = Path(out).resolve()
    merged, named = merge_complete_folds(plan, out), []
    for runs in _groups(plan).values():
        folder = RunFolder(out, runs[0])
        union = folder.path.parent / ALL_FOLDS
        if "test" in runs[0].parts and (union in merged if len(runs) > 1 else _is_done(folder)):
            table = union if len(runs) > 1 else folder.evaluation("test")
            named.append(f"{_place(plan, runs[0]).replace('/', ' ')}={table}")
    other_folds = len({tuple(run.fold for run in runs) for runs in _groups(plan).values()}) > 1
    return compare(named, Path(reports) / plan.name, intersection=other_folds) if named else None


def _groups(plan: Plan) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in plan.runs:
        groups.setdefault(run.group, []).append(run)
    return groups


def _place(plan: Plan, run: Run) -> str:
    seeds = {other.seed for other in plan.runs if other.name == run.name}
    return run.name if len(seeds) == 1 else run.group


def _is_done(folder: RunFolder) -> bool:
    return folder.progress().state == "done"


def _small_files(folder: RunFolder) -> dict[str, Path]:
    """Name the files of a run as the results have them; the manifest comes last."""
    files = {}
    for part in folder.run.parts:
        evaluation = folder.evaluation(part)
        if part == "test":
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
