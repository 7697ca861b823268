"""Run what is left of a list, a few trainings at a time, and collect the tables of what is done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from filelock import FileLock
from hybrid_attention.data.files import atomic_path, files_below, remove_partial_files, write_json
from hybrid_attention.engines.run_record import RECORD
from hybrid_attention.experiments.runs import MANIFEST, Run, bundle_command, shell_line

DONE, FAILED, TIME_IS_UP = 0, 1, 3
Command = Callable[[Run, str, list[Path], Path], list[str]]

_TABLES = ("per_case.csv", "summary.json", "roc.csv", "calibration.csv")
_MACHINE = ("commit", "version", "python", "torch", "monai", "processor", "accelerator")
_LOG, _DATA, _UNION = "log.txt", "data.json", "all_folds"
_ORDER = ("part", "to do", "failed")
_POLL, _GRACE, _PATIENCE = 0.1, 5.0, 10.0  # seconds between looks, to end after SIGTERM, to wait for the lock


class Runner:
    """Bring the runs of a list to their end; what is done already is skipped, what was interrupted continues.

    Args:
        runs: from `read_runs`.
        dataset_dir: folders of the images.
        minutes: time after which to stop; None for none.
        jobs: runs at a time.
        threads: threads of each; None divides torch's, one per physical core, by the jobs.
        command: gives the arguments of `python` for a run, a step, the images and the run's folder.

    Raises:
        ValueError: a number is out of range, or the list was started on other images.
        FileNotFoundError: there are no images.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        dataset_dir: Sequence[str | os.PathLike[str]],
        minutes: float | None = None,
        jobs: int = 1,
        threads: int | None = None,
        command: Command = bundle_command,
    ) -> None:
        for name, value in (("minutes", minutes), ("jobs", jobs), ("threads", threads)):
            if value is not None and not value > 0:
                raise ValueError(f"--{name} must be above 0, got {value}")
        self.runs, self.jobs, self.command = runs, jobs, command
        self.images = [Path(folder).resolve() for folder in dataset_dir]
        self.results = runs[0].folder.parents[2]
        self.data = check_images(self.images, self.results)
        self.threads = threads or max(1, torch.get_num_threads() // jobs)
        self.began = time.monotonic()
        self.end = float("inf") if minutes is None else self.began + 60 * minutes
        self.signals: list[int] = []

    def __call__(self) -> int:
        """Run; SIGINT and SIGTERM end the trainings that are running, too.

        Returns:
            0 when all is done, 1 when a run failed, 3 when it stopped before.

        Raises:
            TimeoutError: another runner works on the list.
        """
        self.results.mkdir(parents=True, exist_ok=True)
        numbers = (signal.SIGINT, signal.SIGTERM)
        earlier = {number: signal.signal(number, lambda got, _: self.signals.append(got)) for number in numbers}
        try:
            with FileLock(self.results / ".lock", timeout=_PATIENCE), ThreadPoolExecutor(self.jobs) as pool:
                write_json(self.results / _DATA, self.data)
                left = [run for run in self.runs if run.progress() != "done"]
                self._say(f"{self.runs[0].experiment}: {len(self.runs) - len(left)} of {len(self.runs)} runs are done")
                list(pool.map(self._work, sorted(left, key=lambda run: _ORDER.index(run.progress()))))
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)
        states = [run.progress() for run in self.runs]
        failed = states.count("failed")
        self._say(f"{states.count('done')} of {len(states)} runs are done, {failed} failed")
        if self._is_over() and states.count("done") + failed < len(states):
            print("stopped: call again to continue")
            return TIME_IS_UP
        return FAILED if failed else DONE

    def _work(self, run: Run) -> None:
        """Do what is left of a run, unless the time is up."""
        if self._is_over():
            return
        run.folder.mkdir(parents=True, exist_ok=True)
        remove_partial_files(run.folder)
        run.update_state(failure=None)
        try:
            for step in run.steps_left():
                began = time.monotonic()
                code = self._step(run, step)
                if self._is_over() and code != 0:
                    self._say(f"stop   {run.label}: {step} after epoch {len(run.epoch_seconds())} of {run.epochs}")
                    return
                if code != 0:
                    raise ValueError(f"{step}: exit status {code}: {_last_line(run.folder / _LOG)}")
                seconds = sum(run.epoch_seconds()) if step == "training" else time.monotonic() - began
                run.update_state(finished={**run.state()["finished"], step: round(seconds, 1)})
            write_json(run.folder / MANIFEST, manifest(run, self.data))
            self._say(f"done   {run.label}")
        except (ValueError, KeyError, OSError) as error:
            run.update_state(failure=str(error))
            self._say(f"failed {run.label}: {error} (see {run.folder / _LOG})")

    def _step(self, run: Run, step: str) -> int:
        """Run one step; return its exit status, or that of being ended when the time is up."""
        self._say(f"start  {run.label}: {step}" + f" after epoch {len(run.epoch_seconds())}" * (step == "training"))
        words = self.command(run, step, self.images, run.folder)
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
        with open(run.folder / _LOG, "a", encoding="utf-8") as log:
            print(f"==== {time.strftime('%Y-%m-%d %H:%M:%S')} {step}: {shell_line(words)}", file=log, flush=True)
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=run.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while process.poll() is None and not self._is_over():
            time.sleep(_POLL)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()

    def _is_over(self) -> bool:
        return bool(self.signals) or time.monotonic() >= self.end

    def _say(self, text: str) -> None:
        print(f"[{_duration(time.monotonic() - self.began)}] {text}", flush=True)


def overview(runs: Sequence[Run], dataset_dir: Sequence[str | os.PathLike[str]]) -> str:
    """Describe what is done and what is left of a list; nothing is written.

    Args:
        runs: from `read_runs`.
        dataset_dir: folders of the images.

    Returns:
        Lines of text: state, time left of the training and commands of each run. The time is that of the run's own
        epochs, else those of a run of its name, of its bundle, or any.
    """
    images = [Path(folder).resolve() for folder in dataset_dir]
    check_images(images, runs[0].folder.parents[2])
    epochs = {run.label: run.epoch_seconds() for run in runs}
    lines, total = [f"commands are for the folder {runs[0].root}"], 0.0
    for run in runs:
        line = f"{run.label}: {run.progress()}, {len(epochs[run.label])} of {run.epochs} epochs"
        alike = sorted(runs, key=lambda other: (other is run, other.name == run.name, other.bundle == run.bundle))
        known = next((epochs[other.label] for other in reversed(alike) if epochs[other.label]), None)
        if "training" in run.steps_left() and known:
            left = (run.epochs - len(epochs[run.label])) * mean(known)
            total, line = total + left, f"{line}, about {_duration(left)} left"
        commands = [bundle_command(run, step, images, run.folder) for step in run.steps_left()]
        lines += [line, *(f"  {shell_line(words)}" for words in commands)]
    done = sum(run.progress() == "done" for run in runs)
    end = f"{runs[0].experiment}: {done} of {len(runs)} runs are done; one after another about {_duration(total)} left"
    return "\n".join([*lines, end])


def check_images(folders: Sequence[Path], results: Path) -> dict[str, Any]:
    """Refuse to continue a list on other images than it was started on.

    Args:
        folders: of the images.
        results: folder of the list, whose `data.json` says what it was started on.

    Returns:
        Number, bytes and one digest of names and sizes of all files.

    Raises:
        ValueError: names or sizes differ.
        FileNotFoundError: a folder does not exist or is empty.
    """
    files: list[tuple[str, int]] = []
    for root in folders:
        inside = sorted(
            (path.relative_to(root).as_posix(), path.stat().st_size) for path in files_below(root) if path.is_file()
        )
        if not inside:
            raise FileNotFoundError(f"data folder {root} does not exist or is empty")
        files += inside
    text = "\n".join(f"{size} {name}" for name, size in files).encode(errors="surrogateescape")
    identity: dict[str, Any] = {"files": len(files), "bytes": sum(size for _, size in files)}
    identity["names_and_sizes_sha256"] = hashlib.sha256(text).hexdigest()
    earlier = _read_json(results / _DATA) if (results / _DATA).is_file() else identity
    if earlier != identity:
        raise ValueError(
            f"{results} holds runs on other images ({earlier['files']} files, {earlier['bytes']} bytes) than those of "
            f"--dataset_dir ({identity['files']} files, {identity['bytes']} bytes): choose another --out"
        )
    return identity


def manifest(run: Run, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the results of a finished run came about, without folders of this machine.

    Args:
        run: the run.
        data: what `check_images` says of the images.
    """
    record, epochs = _read_json(run.folder / "models" / RECORD), run.epoch_seconds()
    seconds, images = sum(epochs), len(record["images"]["training"])
    training = {
        "epochs": len(epochs),
        "best_epoch": record["epoch"],
        "seconds": round(seconds, 1),
        "images": images,
        "images_per_second": round(images * len(epochs) / seconds, 2) if seconds else None,
        "data_sha256": record["data_sha256"],
        "precision": record.get("recipe", {}).get("precision"),
        **{key: record["provenance"].get(key) for key in _MACHINE},
    }
    evaluation, finished = {}, run.state()["finished"]
    for part in sorted(finished.keys() - {"training"}):
        summary = _read_json(run.evaluation(part) / "summary.json")
        taken = {key: summary[key] for key in ("cases", "synthetic_data", "data_sha256", "weights_sha256")}
        machine = {key: summary["provenance"].get(key) for key in _MACHINE}
        evaluation[part] = {"seconds": finished[part], **taken, **machine}
    portable = run.portable()
    steps = ("training", *run.parts)
    return {
        "format": 1,
        "list": run.experiment,
        "run": run.name,
        "definition": run.state()["definition"],
        "commands": [shell_line(bundle_command(portable, step, ["DATASET"], "RUN")) for step in steps],
        "data": dict(data),
        "training": training,
        "evaluation": evaluation,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def finished_groups(runs: Sequence[Run]) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Group the finished runs by name and seed, and merge the folds of each into one table, `seed_S/all_folds`.

    Args:
        runs: from `read_runs`.

    Returns:
        The finished folds of each group, named `RUN`, or `RUN/seed_S` where there are several seeds; and why the folds
        of others can't be merged.
    """
    from hybrid_attention.evaluation import merge_folds

    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.progress() == "done":
            seeds = {other.seed for other in runs if other.name == run.name}
            groups.setdefault(run.name if len(seeds) == 1 else f"{run.name}/seed_{run.seed}", []).append(run)
    failures = {}
    for name, folds in groups.items():
        union = folds[0].folder.parent / _UNION
        try:
            if len(folds) == 1:
                shutil.rmtree(union, ignore_errors=True)  # of folds that were removed since
            elif not _is_fresh(union / "summary.json", folds):
                merge_folds([run.evaluation(run.headline_part) for run in folds], union)
        except (ValueError, OSError) as error:
            failures[name] = str(error)
    return {name: folds for name, folds in groups.items() if name not in failures}, failures


def _is_fresh(summary: Path, folds: Sequence[Run]) -> bool:
    """Tell whether a merged table is of these folds as they are now."""
    if not summary.is_file():
        return False
    merged, newest = (
        _read_json(summary)["folds"]["merged"],
        max((run.folder / MANIFEST).stat().st_mtime for run in folds),
    )
    return sorted(merged) == sorted(run.fold for run in folds) and summary.stat().st_mtime >= newest


def collect(groups: Mapping[str, Sequence[Run]], results: str | os.PathLike[str]) -> list[Path]:
    """Copy the small files of finished runs.

    Args:
        groups: from `finished_groups`.
        results: the tables of a group go to RESULTS/LIST/GROUP; those of several folds to `fold_F` below it.

    Returns:
        The folders written to.

    Raises:
        FileNotFoundError: a file of a finished run is gone.
    """
    written = {}
    for name, folds in groups.items():
        home = Path(results) / folds[0].experiment / name
        for run in folds:
            written[home if len(folds) == 1 else home / f"fold_{run.fold}"] = _small_files(run)
        if len(folds) > 1:
            written[home] = _tables(folds[0].folder.parent / _UNION)
    for target, files in written.items():
        for name, source in files.items():
            if not source.is_file():
                raise FileNotFoundError(
                    f"{source} of a finished run is gone; remove {MANIFEST} beside it to run it again"
                )
            with atomic_path(target / name) as temporary:
                shutil.copyfile(source, temporary)
        for path in (*target.glob("*.csv"), *target.glob("*.json")):  # of an earlier collection
            if path.name not in files:
                path.unlink()
    return list(written)


def report(groups: Mapping[str, Sequence[Run]], reports: str | os.PathLike[str]) -> Path | None:
    """Write the comparison of the finished runs, on the cases that all share where they differ in folds or classes.

    Args:
        groups: from `finished_groups`.
        reports: the page is REPORTS/LIST/report.html.

    Returns:
        The page; None where no run is finished.
    """
    from hybrid_attention.report import compare

    parts = {run.headline_part for folds in groups.values() for run in folds}
    part = "test" if "test" in parts else min(parts, default="")
    named = [
        f"{name.replace('/', ' ')}={folds[0].folder.parent / _UNION if len(folds) > 1 else folds[0].evaluation(part)}"
        for name, folds in groups.items()
        if folds[0].headline_part == part
    ]
    experiment = next((folds[0].experiment for folds in groups.values()), "")
    return compare(named, Path(reports) / experiment, intersection=True) if named else None


def _small_files(run: Run) -> dict[str, Path]:
    """Name the files of a run as the results have them; the manifest comes last."""
    files = _tables(run.evaluation(run.headline_part))
    others = [part for part in run.parts if part != run.headline_part]
    files.update({f"summary_{part}.json": run.evaluation(part) / "summary.json" for part in others})
    return {**files, "history.csv": run.folder / "history.csv", MANIFEST: run.folder / MANIFEST}


def _tables(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in _TABLES if name in _TABLES[:2] or (folder / name).is_file()}


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1]
