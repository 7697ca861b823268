"""Lists of experiments: read from YAML, run so that they can be stopped and continued, and collected."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hybrid_attention
import jsonschema
import pandas as pd
import yaml
from filelock import FileLock, Timeout
from hybrid_attention.data import datalist
from hybrid_attention.data.hashing import data_digest
from hybrid_attention.data.writing import atomic_path, remove_partial_files, write_json
from hybrid_attention.engines.command_line import OWN_OPTIONS, command_words, merge_configs, without_none
from hybrid_attention.engines.training_record import RECORD, differences, without_folder
from hybrid_attention.evaluation import merge_folds
from hybrid_attention.evaluation.formatting import plural
from hybrid_attention.report import compare
from monai.bundle import ConfigParser
from monai.utils.misc import CheckKeyDuplicatesYamlLoader

StrPath = str | os.PathLike[str]
_OPTIONS = ("options", "evaluation_options")
_GIVEN = dict.fromkeys(("dataset_dir", "output_dir", "fold", "seed", "resume"))
_SET_BY_RUNNER = {*_GIVEN, "part", "ckpt_dir", "ckpt_path", "evaluation_dir", *OWN_OPTIONS}
_DEFAULTS: dict[str, Any] = {"bundle": "", "configs": [], "folds": [0], "seeds": [0], "parts": ["test"]}
_NUMBERS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_]+$"},  # names a folder
        "bundle": {"type": "string"},
        "configs": {"type": "array", "items": {"type": "string"}},
        "options": {"type": "object"},
        "evaluation_options": {"type": "object"},
        "folds": _NUMBERS,
        "seeds": _NUMBERS,
        "parts": {"type": "array", "items": {"enum": ["test", "validation", "train"]}, "minItems": 1},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


@dataclass(frozen=True)
class Run:
    """One training on one fold with one seed, and its evaluations.

    Its folder, OUT/LIST/RUN/seed_S/fold_F, has the files of the bundle, `log.txt` with the output of all attempts, and
    `run.json`: definition, seconds of the finished steps, last failure.

    Args:
        configs: overlays after the bundle's `train.yaml`, relative to `root`.
        parts: parts of the split that are evaluated; tables and reports are of the first.
        root: the checkout that contains `bundles/`.
        images: folders of the images; empty if the results are only collected.
        data: number and digest of these images and their masks, wherever they are.
    """

    name: str
    bundle: str
    configs: list[str]
    options: dict[str, Any]
    evaluation_options: dict[str, Any]
    fold: int
    seed: int
    parts: list[str]
    epochs: int
    root: Path
    home: Path
    images: tuple[Path, ...]
    data: str | None

    @property
    def label(self) -> str:
        """The folder below the list's, for example `han/seed_0/fold_0`."""
        return f"{self.name}/seed_{self.seed}/fold_{self.fold}"

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.home / self.label

    def evaluation(self, part: str) -> Path:
        """Return the folder of the evaluation of a part."""
        return self.folder / ("evaluation" if part == "test" else f"evaluation_{part}")

    def definition(self) -> dict[str, Any]:
        """Return what must not change while a run is continued, as plain values without folders of this machine."""
        options = {key: without_folder(getattr(self, key), relative=False) for key in _OPTIONS}
        definition = {"bundle": self.bundle, "configs": self.configs, **options, "fold": self.fold, "seed": self.seed}
        return dict(json.loads(json.dumps({**definition, "data": self.data})))

    def configs_of(self, entry: str) -> list[str]:
        """Return the config files for "training" or "evaluating", relative to `root`."""
        folder = f"bundles/{self.bundle}/configs"
        return [f"{folder}/train.yaml", *self.configs, *[f"{folder}/evaluate.yaml"] * (entry == "evaluating")]

    def command(self, step: str) -> list[str]:
        """Return the command for one step, "training" or a part of the split, with `root` as working directory."""
        entry = "training" if step == "training" else "evaluating"
        data = [str(folder) for folder in self.images]
        options: dict[str, Any] = {"config_file": self.configs_of(entry), "dataset_dir": data if data[1:] else data[0]}
        options |= {"output_dir": os.fspath(self.folder), "fold": self.fold, "seed": self.seed}
        if step == "training":
            options |= {"resume": True, **self.options}
        else:  # what evaluate.yaml sets must not be overridden by a training's options
            own = ConfigParser.load_config_file(str(self.root / options["config_file"][-1]))
            options |= {key: value for key, value in self.options.items() if key not in own}
            options |= {**self.evaluation_options, "part": step}
        return ["python", "-m", "monai.bundle", "run", entry, *command_words(options)]

    def record(self) -> dict[str, Any]:
        """Return the content of `run.json`, or of a new one."""
        path = self.folder / "run.json"
        if path.is_file():
            return dict(json.loads(path.read_text(encoding="utf-8")))
        return {"definition": self.definition(), "finished": {}, "failure": None}

    def steps_left(self) -> list[str]:
        """Return the unfinished steps: the training, then each part."""
        finished = self.record()["finished"]
        return [step for step in ("training", *self.parts) if step not in finished]

    def epoch_seconds(self) -> list[float]:
        """Return the duration of each complete epoch so far, validation included."""
        path = self.folder / "history.csv"
        return pd.read_csv(path)["seconds"].tolist() if path.is_file() else []

    def progress(self) -> str:
        """Return "done", "failed", "part" or "to do"."""
        if not self.steps_left():
            return "done"
        if self.record()["failure"]:
            return "failed"
        return "part" if self.epoch_seconds() else "to do"


def read_runs(path: StrPath, out: StrPath, only: Sequence[str] = (), dataset_dir: Sequence[StrPath] = ()) -> list[Run]:
    """Read a list of runs, all on one fold before those on the next, and check it without building any network.

    Args:
        path: YAML file with `name`, `runs` (each with a `name`; or the path of a file with `runs`, relative to the
            list) and, for the list or for a run, the other keys of `_SCHEMA`.
        out: folder of all results.
        only: names of the runs to keep; all if empty.
        dataset_dir: folders of the images; not needed by `collect`.

    Raises:
        ValueError: the list is invalid, or the folder of a run was started with another definition or other images.
        FileNotFoundError: the list or a folder of `dataset_dir` does not exist.
    """
    path = Path(path)
    shared = _read_yaml(path)
    entries = shared.pop("runs", None)
    if isinstance(entries, str):
        entries = _read_yaml(path.parent / entries).get("runs")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: runs must be a list, or the path of a file with one, got {entries!r}")
    for entry in (shared, *entries):
        try:
            jsonschema.validate(entry, _SCHEMA)
        except jsonschema.ValidationError as error:
            raise ValueError(f"{path}, {error.json_path.removeprefix('$.')} of {entry}: {error.message}") from None
    names = [entry["name"] for entry in entries]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path} has more than one run named {', '.join(sorted(twice))}")
    if unknown := set(only) - set(names):
        raise ValueError(f"{path} has no run {', '.join(sorted(unknown))}; its runs are {', '.join(names)}")
    package = Path(hybrid_attention.__file__).resolve().parent
    root = next((folder for folder in path.resolve().parents if (folder / "bundles").is_dir()), package.parent)
    images = tuple(Path(folder).resolve(strict=True) for folder in dataset_dir)
    place = {"root": root, "home": Path(out).resolve() / shared["name"], "images": images, "data": _data(images)}
    runs = []
    for entry in entries:
        settings = {**_DEFAULTS, **shared, **entry}
        settings |= {key: {**shared.get(key, {}), **entry.get(key, {})} for key in _OPTIONS}
        folds, seeds = settings.pop("folds"), settings.pop("seeds")
        run = Run(**settings, **place, fold=0, seed=0, epochs=0)
        try:
            epochs = _check_options(run)
        except ValueError as error:
            raise ValueError(f"{path}, run {run.name}: {error}") from None
        runs += [replace(run, epochs=epochs, seed=seed, fold=fold) for seed in seeds for fold in folds]
    runs = sorted((run for run in runs if not only or run.name in only), key=lambda run: (run.seed, run.fold))
    if changes := [f"{run.folder}: {change}" for run in runs for change in _changes(run)]:
        hint = "runs have changed; rename them, give another --out, or remove their folders to start again:"
        raise ValueError("\n  ".join([hint, *changes]))
    return runs


def _data(images: Sequence[Path]) -> str | None:
    """Return number and digest of the images, whatever the order of their folders."""
    if not images:
        return None
    cases = sorted(datalist(images), key=lambda case: str(case["case_id"]))
    return f"{plural(len(cases), 'image')}, SHA-256 {data_digest(cases)[:16]}"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # duplicate keys
            return dict(yaml.load(path.read_text(encoding="utf-8"), CheckKeyDuplicatesYamlLoader))
    except (yaml.YAMLError, UserWarning, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a YAML file with the keys name and runs: {error}") from None


def _check_options(run: Run) -> int:
    """Check that all options are keys of the run's configs; return the number of epochs."""
    files = [run.root / file for file in run.configs_of("evaluating")]
    for file in files:
        if not (file.is_file() and file.is_relative_to(run.root)):
            raise ValueError(f"{file} is not a config file below {run.root}")
    for key in (*run.options, *run.evaluation_options):
        if re.split("#|::", key)[0] in _SET_BY_RUNNER:
            raise ValueError(f"{key} is set by the runner (folds, seeds, parts, --dataset_dir and --out)")
    config, faults = merge_configs(files[:-1], without_none({**run.options, **_GIVEN}), ("training",))
    options = without_none({**run.evaluation_options, **_GIVEN, "part": None})
    faults += merge_configs(files, options, ("training", "evaluating"))[1]
    if faults:
        raise ValueError("; ".join(dict.fromkeys(faults)))
    epochs = run.options.get("epochs", config.get("epochs"))
    if not isinstance(epochs, int):
        raise ValueError(f"epochs must be a whole number from 1, got {epochs!r}")
    return epochs


def _changes(run: Run) -> list[str]:
    """Describe what changed in the definition of a run since its first epoch."""

    def flat(definition: Mapping[str, Any]) -> dict[str, Any]:
        options = {f"{key}.{name}": value for key in _OPTIONS for name, value in definition[key].items()}
        data = definition["data"] if run.images else None  # not known if the results are only collected
        return {**definition, **options, **dict.fromkeys(_OPTIONS), "data": data}

    begun = run.epoch_seconds() or run.progress() == "done"
    return differences(flat(run.record()["definition"]), flat(run.definition())) if begun else []


def run_all(runs: list[Run], minutes: float | None = None) -> int:
    """Train and evaluate runs one after another; finished ones are skipped, interrupted ones continue.

    Several runners can work on the same list and folder at the same time: each skips the runs of the others. SIGINT and
    SIGTERM also stop the current training.

    Args:
        runs: from `read_runs`, with folders of images.
        minutes: time after which to stop, above 0; or None.

    Returns:
        0 if all runs are finished, 1 if one failed, 3 if some are left: the time is up, or another runner has them.
    """
    if minutes is not None and not minutes > 0:
        raise ValueError(f"--minutes must be above 0, got {minutes}")
    if not runs[0].images:
        raise ValueError("runs without folders of images can only be collected: give read_runs a dataset_dir")
    end = time.monotonic() + 60 * (minutes or float("inf"))
    left = [run for state in ("part", "to do", "failed") for run in runs if run.progress() == state]
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for run in left:
            run.folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(run.folder / ".lock", timeout=0):
                    _finish(run, end)
            except Timeout:
                _say(f"skip   {run.label}: another runner works on it")
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        _say("stopped: call again to continue")
    finally:
        signal.signal(signal.SIGTERM, handler)
    states = [run.progress() for run in runs]
    _say(f"{runs[0].home.name}: {states.count('done')} of {len(runs)} runs are done, {states.count('failed')} failed")
    return 3 if {"part", "to do"} & set(states) else 1 if "failed" in states else 0


def _finish(run: Run, end: float) -> None:
    """Do the unfinished steps of a run, until one fails."""
    remove_partial_files(run.folder)
    record = {**run.record(), "definition": run.definition(), "failure": None}
    write_json(run.folder / "run.json", record)
    for step in run.steps_left():
        if time.monotonic() >= end:
            raise subprocess.TimeoutExpired(step, 0)
        _say(f"start  {run.label}: {step}" + f" after epoch {len(run.epoch_seconds())}" * (step == "training"))
        began = time.monotonic()
        if failure := _run_step(run, step, end):
            write_json(run.folder / "run.json", {**record, "failure": f"{step}: {failure}"})
            return _say(f"failed {run.label}: {step}: {failure} (see {run.folder / 'log.txt'})")
        seconds = sum(run.epoch_seconds()) if step == "training" else time.monotonic() - began
        record["finished"][step] = round(seconds, 1)
        write_json(run.folder / "run.json", record)
    _say(f"done   {run.label}")


def _run_step(run: Run, step: str, end: float) -> str | None:
    """Run one step, which is killed when the time is up; return why it failed, or None."""
    command, log = run.command(step), run.folder / "log.txt"
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    with open(log, "a", encoding="utf-8") as file:
        print(f"==== {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(command)}", file=file, flush=True)
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
        words, left = [sys.executable, *command[1:]], end - time.monotonic()
        code = subprocess.run(words, cwd=run.root, env=environment, timeout=left, **streams).returncode
    if code != 0:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
        return f"exit status {code}: {last.strip()}"
    result = run.folder / "models" / RECORD if step == "training" else run.evaluation(step) / "summary.json"
    return None if result.is_file() else f"{result} was not written"


def collect(runs: list[Run], results: StrPath | None = None, reports: StrPath | None = None) -> list[Path]:
    """Copy tables and records of finished runs, and write a report that compares them on the cases that they share.

    Args:
        runs: from `read_runs`. Folds of the same run and seed are merged first, into `seed_S/all_folds`.
        results: the files go to RESULTS/LIST/RUN; several seeds have folders `seed_S` and several folds `fold_F` in it.
        reports: the page goes to REPORTS/LIST/report.html.

    Returns:
        The folders and the page that were written.

    Raises:
        ValueError: some folds can't be merged; all others are written.
    """
    written, compared, faults, experiment = [], [], [], runs[0].home.name
    done = [run for run in runs if run.progress() == "done"]
    for name, seed in dict.fromkeys((run.name, run.seed) for run in done):
        folds = [run for run in done if (run.name, run.seed) == (name, seed)]
        place = f"{name}/seed_{seed}" if len({run.seed for run in runs if run.name == name}) > 1 else name
        try:
            scores = _merged(folds)
        except (ValueError, OSError) as error:
            faults.append(f"{place}: {error}")
            continue
        if folds[0].parts[0] == runs[0].parts[0]:
            compared.append(f"{place.replace('/', ' ')}={scores}")
        if results is not None:
            target = Path(results, experiment, place)
            if len(folds) > 1:
                written.append(_copy(_tables(scores), target))
            written += [_copy(_files(run), target / f"fold_{run.fold}" if len(folds) > 1 else target) for run in folds]
    if reports is not None and compared:
        written.append(compare(compared, Path(reports, experiment), intersection=True))
    if faults:
        raise ValueError("\n  ".join(["these folds can't be merged; remove a fold's folder to run it again:", *faults]))
    return written


def _merged(folds: Sequence[Run]) -> Path:
    """Return the folder with the scores of folds, merged if there are several."""
    parts = [run.evaluation(run.parts[0]) for run in folds]
    if len(parts) == 1:
        return parts[0]
    union = folds[0].folder.parent / "all_folds"
    merge_folds(parts, union)
    return union


def _tables(folder: Path) -> dict[str, Path]:
    optional = [name for name in ("roc.csv", "calibration.csv", "attention.csv") if (folder / name).is_file()]
    return {name: folder / name for name in ("per_case.csv", "summary.json", *optional)}


def _files(run: Run) -> dict[str, Path]:
    """Return the files of a run to collect, by their new names."""
    main, *others = run.parts
    files = _tables(run.evaluation(main)) | {name: run.folder / name for name in ("history.csv", "run.json")}
    return files | {f"summary_{part}.json": run.evaluation(part) / "summary.json" for part in others}


def _copy(files: Mapping[str, Path], target: Path) -> Path:
    for name, source in files.items():
        with atomic_path(target / name) as temporary:
            shutil.copyfile(source, temporary)
    for path in (*target.glob("*.csv"), *target.glob("*.json")):  # of an earlier collection
        if path.name not in (*files, "attention.csv"):  # which may be of another evaluation, with --attention True
            path.unlink()
    return target
