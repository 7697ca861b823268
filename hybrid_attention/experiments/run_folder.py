"""A run on disk: how far it is, and the manifest that says how its results came about."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hybrid_attention.data.files import remove_partial_files, write_json
from hybrid_attention.engines.training_record import RECORD, differences
from hybrid_attention.experiments.commands import portable_commands
from hybrid_attention.experiments.plan import Plan, Run

LOG = "log.txt"
MANIFEST = "manifest.json"
_STATE = "state.json"
_FORMAT = 1
# what the manifest takes from the records of training and evaluation
_MACHINE = ("commit", "version", "python", "torch", "monai", "processor", "accelerator")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        state: "to do", "part", "failed" or "done".
        finished: seconds of each finished step.
        epochs: whole epochs so far.
        seconds_per_epoch: of these epochs, validation included; None before the first.
        failure: of the last attempt, in words.
    """

    state: str
    finished: dict[str, float]
    epochs: int
    seconds_per_epoch: float | None
    failure: str


class RunFolder:
    """The folder of one run: RUNS/LIST/RUN/seed_S/fold_F.

    `state.json` (definition, finished steps, last failure) appears when the run is first started, `manifest.json` when
    all its steps are finished; `log.txt` grows by the output of each attempt.

    Args:
        out: folder of all results.
        run: the run.
    """

    def __init__(self, out: Path, run: Run) -> None:
        self.run = run
        self.path = out / run.experiment / run.label

    def evaluation(self, part: str) -> Path:
        """Return where the bundle puts the evaluation of a part."""
        return self.path / ("evaluation" if part == "test" else f"evaluation_{part}")

    def progress(self) -> Progress:
        """Look how far the run is."""
        state = _read(self.path / _STATE)
        finished = dict(state.get("finished", {}))
        seconds = self.epoch_seconds()
        failure = state.get("failure") or ""
        name = "failed" if failure else "part" if seconds or finished else "to do"
        if (self.path / MANIFEST).is_file() and all(step in finished for step in self.run.steps):
            name = "done"
        return Progress(name, finished, len(seconds), sum(seconds) / len(seconds) if seconds else None, failure)

    def epoch_seconds(self) -> list[float]:
        """Return the seconds of each whole epoch, its validation included."""
        path = self.path / "history.csv"
        if not path.is_file():
            return []
        with open(path, newline="", encoding="utf-8") as file:
            return [float(row["seconds"]) for row in csv.DictReader(file)]

    def faults(self) -> list[str]:
        """Say where the definition that the folder was started with differs from the list's."""
        state = _read(self.path / _STATE)
        if not state:
            return []
        earlier, now = _flat(state["definition"]), _flat(self.run.definition())
        # a list that leaves these to the processor goes with any; the checkpoint holds a run to what it began with
        for key in {"options.precision", "options.channels_last"} - now.keys():
            earlier.pop(key, None)
        changed = differences(earlier, now)
        return [f"{self.run.label} was started with another definition: {'; '.join(changed)}"] if changed else []

    def notes(self) -> list[str]:
        """Say where something changed that doesn't forbid to keep the results."""
        state = _read(self.path / _STATE)
        if not state or state["config_sha256"] == self.run.recipe.config_sha256:
            return []
        return [f"{self.run.label}: its config files say something else than when it was started"]

    def start(self) -> None:
        """Write the definition, or clear the failure of the last attempt."""
        remove_partial_files(self.path)
        state = _read(self.path / _STATE)
        kept = {
            "definition": self.run.definition(),
            "config_sha256": self.run.recipe.config_sha256,
            "finished": {},
            **state,
            "failure": None,
        }
        write_json(self.path / _STATE, kept)

    def finish_step(self, step: str, seconds: float) -> None:
        """Note that a step is finished.

        Args:
            step: "training" or the name of a part.
            seconds: that it took; for a training, which may have been resumed, those of its epochs count instead.
        """
        state = _read(self.path / _STATE)
        state["finished"][step] = round(sum(self.epoch_seconds()) if step == "training" else seconds, 1)
        write_json(self.path / _STATE, state)

    def fail(self, reason: str) -> None:
        """Note that the last attempt failed."""
        write_json(self.path / _STATE, {**_read(self.path / _STATE), "failure": reason})

    def write_manifest(self, data: Mapping[str, Any]) -> None:
        """Write the manifest, the sign that the run is done.

        Args:
            data: what is known of the folder of images.

        Raises:
            ValueError: a file that training or evaluation writes is not there.
        """
        state = _read(self.path / _STATE)
        record = self._written("models", RECORD)
        epochs = self.epoch_seconds()
        seconds, images = sum(epochs), len(record["images"]["training"])
        training = {
            "epochs": len(epochs),
            "best_epoch": record["epoch"],
            "seconds": round(seconds, 1),
            "images": images,
            "images_per_second": round(images * len(epochs) / seconds, 2) if seconds else None,
            "data_sha256": record["data_sha256"],
            "precision": record.get("recipe", {}).get("precision"),
            **_machine(record),
        }
        evaluation = {}
        for part in state["finished"].keys() - {"training"}:
            summary = self._written(self.evaluation(part).name, "summary.json")
            taken = {key: summary[key] for key in ("cases", "synthetic_data", "data_sha256", "weights_sha256")}
            evaluation[part] = {"seconds": state["finished"][part], **taken, **_machine(summary)}
        manifest = {
            "format": _FORMAT,
            "list": self.run.experiment,
            "run": self.run.name,
            "definition": state["definition"],
            "config_sha256": state["config_sha256"],
            "commands": portable_commands(self.run),
            "data": dict(data),
            "training": training,
            "evaluation": dict(sorted(evaluation.items())),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        write_json(self.path / MANIFEST, manifest)

    def _written(self, *parts: str) -> dict[str, Any]:
        content = _read(self.path.joinpath(*parts))
        if not content:
            raise ValueError(f"{self.path.joinpath(*parts)} is not there though the step ended without an error")
        return content


def check_unchanged(plan: Plan, out: Path) -> None:
    """Refuse runs whose folders were started with another definition.

    Args:
        plan: the runs.
        out: folder of all results.

    Raises:
        ValueError: naming the runs and what differs.
    """
    faults = [fault for run in plan.runs for fault in RunFolder(out, run).faults()]
    if faults:
        cure = "give the run another name, or remove its folder to run it anew"
        raise ValueError("\n  ".join([f"results in {out / plan.name} are of other runs; {cure}:", *faults]))


def changed_configs(plan: Plan, out: Path) -> list[str]:
    """Say which runs are done or part done with config files that have changed since; their results are kept.

    Args:
        plan: the runs.
        out: folder of all results.

    Returns:
        A note a run.
    """
    folders = [(folder, folder.progress()) for folder in (RunFolder(out, run) for run in plan.runs)]
    return [note for folder, so_far in folders if so_far.epochs or so_far.finished for note in folder.notes()]


def _machine(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: record["provenance"].get(key) for key in _MACHINE}


def _flat(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Bring options to the top level, so that a difference names the option."""
    flat: dict[str, Any] = {}
    for key, value in definition.items():
        flat.update(
            {f"{key}.{name}": entry for name, entry in value.items()} if isinstance(value, dict) else {key: value}
        )
    return flat


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
