"""What a call would do: state, time left and commands of each run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from hybrid_attention.experiments.commands import bundle_command, shown
from hybrid_attention.experiments.dataset import DatasetDir, check_same_data, data_folders, folder_identity
from hybrid_attention.experiments.execution import duration
from hybrid_attention.experiments.plan import Plan, Run
from hybrid_attention.experiments.run_folder import Progress, RunFolder, check_unchanged


@dataclass(frozen=True)
class TimeLeft:
    """An estimate.

    Args:
        seconds: of the steps whose time is known.
        unknown: steps of which nothing is known.
    """

    seconds: float
    unknown: int = 0

    def __add__(self, other: TimeLeft) -> TimeLeft:
        return TimeLeft(self.seconds + other.seconds, self.unknown + other.unknown)

    def __str__(self) -> str:
        if self.unknown == 0:
            return f"about {duration(self.seconds)} left"
        known = f"about {duration(self.seconds)} and " if self.seconds else ""
        return f"{known}{self.unknown} step{'s' * (self.unknown > 1)} of unknown time left"


def overview(plan: Plan, dataset_dir: DatasetDir, out: str | os.PathLike[str]) -> str:
    """Describe what is done and what is left of a list; nothing is written.

    Args:
        plan: the runs.
        dataset_dir: folder of the images, or several.
        out: folder of all results.

    Returns:
        Lines of text.

    Raises:
        ValueError: a run's folder was started with another definition, or on other images.
        FileNotFoundError: there are no images.
    """
    out = Path(out).resolve()
    check_unchanged(plan, out)
    images = data_folders(dataset_dir)
    check_same_data(out / plan.name, folder_identity(images))
    folders = [RunFolder(out, run) for run in plan.runs]
    known = [(folder.run, folder.progress()) for folder in folders]
    lines, total = [f"commands are for the folder {plan.root}"], TimeLeft(0)
    for folder, (run, progress) in zip(folders, known, strict=True):
        left = time_left(run, progress, known)
        total += left
        taken = f"{sum(progress.finished.values()):.0f} s"
        lines.append(f"{run.label}: {_state(run, progress)}, {taken if progress.state == 'done' else left}")
        lines += [f"  note: {note}" for note in folder.notes()]
        if progress.state != "done":
            todo = [step for step in run.steps if step not in progress.finished]
            lines += [f"  {shown(bundle_command(run, step, images, folder.path))}" for step in todo]
    done = sum(progress.state == "done" for _, progress in known)
    return "\n".join([*lines, f"{plan.name}: {done} of {len(known)} runs are done; one after another {total}"])


def time_left(run: Run, progress: Progress, known: Sequence[tuple[Run, Progress]]) -> TimeLeft:
    """Estimate how long a run will take, from its own epochs, else those of its name, else those of its bundle.

    Args:
        run: the run.
        progress: how far it is.
        known: all runs of the list.

    Returns:
        Seconds; steps of which no such run has anything yet are counted as unknown.
    """
    if progress.state == "done":
        return TimeLeft(0)
    circles = (
        [(run, progress)],
        [entry for entry in known if entry[0].name == run.name],
        [entry for entry in known if entry[0].bundle == run.bundle],
    )
    left = TimeLeft(0)
    for step in (step for step in run.steps if step not in progress.finished):
        found = [[time for _, other in circle if (time := _step_time(other, step)) is not None] for circle in circles]
        times = next((times for times in found if times), None)
        count = max(0, run.recipe.epochs - progress.epochs) if step == "training" else 1
        left += TimeLeft(count * mean(times)) if times else TimeLeft(0, 1)
    return left


def _step_time(progress: Progress, step: str) -> float | None:
    """Return seconds of an epoch of the training, or of an evaluation."""
    return progress.seconds_per_epoch if step == "training" else progress.finished.get(step)


def _state(run: Run, progress: Progress) -> str:
    if progress.state == "part" and "training" in progress.finished:
        return f"part: trained, evaluated {', '.join(set(run.parts) & set(progress.finished)) or 'not yet'}"
    if progress.state == "part":
        return f"part: epoch {progress.epochs} of {run.recipe.epochs}"
    return f"failed ({progress.failure})" if progress.state == "failed" else progress.state
