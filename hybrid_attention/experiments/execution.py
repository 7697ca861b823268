"""Run what is left of a list, a few processes at a time, until all is done or the time is up."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from hybrid_attention.experiments import processes
from hybrid_attention.experiments.collect import merge_folds_done
from hybrid_attention.experiments.commands import bundle_command, shown
from hybrid_attention.experiments.dataset import DatasetDir, check_same_data, data_folders, folder_identity, note_data
from hybrid_attention.experiments.plan import Plan, Run
from hybrid_attention.experiments.run_folder import LOG, RunFolder, changed_configs, check_unchanged

DONE, FAILED, TIME_IS_UP = 0, 1, 3
Command = Callable[[Run, str, list[Path], Path], list[str]]

_ORDER = ("part", "to do", "failed")
_POLL = 0.1


@dataclass
class _Job:
    """A run at work."""

    run: Run
    folder: RunFolder
    process: subprocess.Popen[bytes]
    step: str
    epochs: int  # when this call took it up
    log_start: int
    started: float = field(default_factory=time.monotonic)


class Runner:
    """Bring a list of runs to its end; what is done already is skipped.

    Args:
        plan: the runs.
        dataset_dir: folder of the images, or several.
        out: folder of all results; the list's is OUT/LIST.
        minutes: time budget; None for none.
        jobs: runs at a time.
        threads: of each; None shares those that torch uses, one per physical core, among the jobs.
        command: gives the arguments of `python` for a run, a step, the images and the run's folder.

    Raises:
        ValueError: a number is out of range, the definition of a run differs from the one that its folder was started
            with, or the images do.
        FileNotFoundError: there are no images.
    """

    def __init__(
        self,
        plan: Plan,
        dataset_dir: DatasetDir,
        out: str | os.PathLike[str],
        minutes: float | None = None,
        jobs: int = 1,
        threads: int | None = None,
        command: Command = bundle_command,
    ) -> None:
        for name, value in (("minutes", minutes), ("jobs", jobs), ("threads", threads)):
            if value is not None and not value > 0:
                raise ValueError(f"--{name} must be above 0, got {value}")
        self.plan = plan
        self.folders = data_folders(dataset_dir)
        self.out = Path(out).resolve()
        if any(self.out.is_relative_to(folder) for folder in self.folders):
            raise ValueError(f"--out {out} lies in the folder of the images; choose another")
        self.data = folder_identity(self.folders)
        self.jobs = jobs
        self.threads = threads or max(1, torch.get_num_threads() // jobs)
        self.command = command
        self.start = time.monotonic()
        self.deadline = None if minutes is None else self.start + 60 * minutes
        self.asked_to_stop = False
        self.failures: dict[str, str] = {}
        self.unmerged: dict[str, str] = {}
        check_unchanged(plan, self.out)
        check_same_data(self.results, self.data)

    @property
    def results(self) -> Path:
        """The folder of the list's results."""
        return self.out / self.plan.name

    def __call__(self) -> int:
        """Run.

        Returns:
            0 when all is done, 1 when a run failed or folds can't be merged, 3 when the time is up and something is
            left.

        Raises:
            BlockingIOError: another runner works in the folder.
        """
        with processes.only_runner(self.results) as lock, self._listening():
            check_unchanged(self.plan, self.out)
            check_same_data(self.results, self.data)
            note_data(self.results, self.data)
            self._merge()
            self._work(lock)
        return self._report()

    def _work(self, lock: int) -> None:
        folders = [RunFolder(self.out, run) for run in self.plan.runs]
        left = [folder for folder in folders if folder.progress().state != "done"]
        self._say(f"{self.plan.name}: {len(folders) - len(left)} of {len(folders)} runs are done")
        for note in changed_configs(self.plan, self.out):
            self._say(f"note: {note}")
        queue = deque(sorted(left, key=lambda folder: _ORDER.index(folder.progress().state)))
        jobs: list[_Job] = []
        try:
            while (queue or jobs) and not self._time_is_up():
                while queue and len(jobs) < self.jobs:
                    jobs += self._start_run(queue.popleft(), lock)
                time.sleep(_POLL)
                for job in [job for job in jobs if job.process.poll() is not None]:
                    jobs.remove(job)
                    jobs += self._after(job, lock)
        finally:
            processes.stop([job.process for job in jobs])
            for job in jobs:
                self._say_stopped(job)

    def _start_run(self, folder: RunFolder, lock: int) -> list[_Job]:
        progress = folder.progress()
        todo = [step for step in folder.run.steps if step not in progress.finished]
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.start()
        if not todo:
            return self._finish(folder)
        epochs = (
            f"epoch {progress.epochs} of {folder.run.recipe.epochs} is done" if progress.epochs else "from the start"
        )
        self._say(f"start  {folder.run.label}: {', '.join(todo)}" + (f" ({epochs})" if todo[0] == "training" else ""))
        return [self._start_step(folder, todo[0], lock)]

    def _start_step(self, folder: RunFolder, step: str, lock: int) -> _Job:
        words = self.command(folder.run, step, self.folders, folder.path)
        log = folder.path / LOG
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"==== {time.strftime('%Y-%m-%d %H:%M:%S')} {step}: {shown(words)}\n")
            start = file.tell()
        process = processes.start(words, self.plan.root, log, self.threads, lock)
        return _Job(folder.run, folder, process, step, folder.progress().epochs, start)

    def _after(self, job: _Job, lock: int) -> list[_Job]:
        """Go on after a step's process has ended."""
        if job.process.returncode != 0:
            return self._fail(job.folder, f"{job.step}: {_ending(job)}")
        job.folder.finish_step(job.step, time.monotonic() - job.started)
        finished = job.folder.progress().finished
        todo = [step for step in job.run.steps if step not in finished]
        return [self._start_step(job.folder, todo[0], lock)] if todo else self._finish(job.folder)

    def _finish(self, folder: RunFolder) -> list[_Job]:
        try:
            folder.write_manifest(self.data)
        except (ValueError, KeyError) as error:
            return self._fail(folder, f"manifest: {error}")
        finished = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in folder.progress().finished.items())
        self._say(f"done   {folder.run.label}: {finished}")
        self._merge()
        return []

    def _merge(self) -> None:
        failures = merge_folds_done(self.plan, self.out)  # the runs themselves are done
        self.unmerged = {f"union of the folds of {group}": reason for group, reason in failures.items()}

    def _fail(self, folder: RunFolder, reason: str) -> list[_Job]:
        folder.fail(reason)
        self.failures[folder.run.label] = f"{reason} (see {folder.path / LOG})"
        self._say(f"failed {folder.run.label}: {reason}")
        return []

    def _say_stopped(self, job: _Job) -> None:
        progress = job.folder.progress()
        text = f"stopped {job.run.label} during {job.step}"
        if job.step == "training":
            text += f" after epoch {progress.epochs} of {job.run.recipe.epochs}"
            if progress.epochs == job.epochs:
                text += ": no whole epoch in this call, so nothing is gained; allow more --minutes"
        self._say(text)

    def _report(self) -> int:
        states = [RunFolder(self.out, run).progress().state for run in self.plan.runs]
        failed = sum(run.label in self.failures for run in self.plan.runs)
        left = len(states) - states.count("done") - failed
        self._say(f"{states.count('done')} of {len(states)} runs are done, {failed} failed, {left} left")
        failures = {**self.failures, **self.unmerged}
        for label, reason in failures.items():
            print(f"  failed {label}: {reason}")
        if left:
            print("the time is up: call again to go on" if not self.asked_to_stop else "stopped: call again to go on")
            return TIME_IS_UP
        return FAILED if failures else DONE

    def _time_is_up(self) -> bool:
        return self.asked_to_stop or (self.deadline is not None and time.monotonic() >= self.deadline)

    def _say(self, text: str) -> None:
        print(f"[{duration(time.monotonic() - self.start)}] {text}", flush=True)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Let signals end the runner in order, with its children."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.asked_to_stop = True

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
        earlier = {number: signal.signal(number, stop) for number in heard}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)


def duration(seconds: float) -> str:
    """Print seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _ending(job: _Job) -> str:
    """Say how a process ended: its status and the last line of its output."""
    code = job.process.returncode
    status = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    with open(job.folder.path / LOG, encoding="utf-8", errors="replace") as file:
        file.seek(job.log_start)
        lines = [line.strip() for line in file.read().splitlines() if line.strip()]
    return f"{status}: {lines[-1]}" if lines else status
