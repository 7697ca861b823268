"""The runs of a YAML list, over folds and seeds: what each is, its commands, and how far its folder is."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hybrid_attention
import jsonschema
import yaml
from hybrid_attention.data.files import write_json
from hybrid_attention.engines.overrides import OWN_OPTIONS, merge_configs
from hybrid_attention.engines.run_record import differences, without_folder
from monai.bundle import ConfigParser
from monai.utils.misc import CheckKeyDuplicatesYamlLoader

MANIFEST = "manifest.json"

_NUMBERS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True}
_VALUES = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean", "null", "array", "object"]},
}
_SETTINGS: dict[str, Any] = {
    "bundle": {"type": "string"},
    "configs": {"type": "array", "items": {"type": "string"}},
    "options": _VALUES,
    "evaluation_options": _VALUES,
    "folds": _NUMBERS,
    "seeds": _NUMBERS,
    "parts": {"type": "array", "items": {"enum": ["test", "validation", "train"]}, "minItems": 1, "uniqueItems": True},
}
_NAME = {"type": "string", "pattern": "^[A-Za-z0-9_]+$"}  # names a folder
_RUN = {"properties": {"name": _NAME, **_SETTINGS}, "required": ["name"], "additionalProperties": False}
_SCHEMA = {
    "type": "object",
    "properties": {
        "name": _NAME,
        **_SETTINGS,
        "runs": {"type": "array", "items": {"type": "object", **_RUN}, "minItems": 1},
    },
    "required": ["name", "runs"],
    "additionalProperties": False,
}
_DEFAULTS: dict[str, Any] = {
    "configs": [],
    "options": {},
    "evaluation_options": {},
    "folds": [0],
    "seeds": [0],
    "parts": ["test"],
}
_GIVEN = ("dataset_dir", "output_dir", "fold", "seed", "resume")
_SET_BY_RUNNER = {*_GIVEN, "part", "ckpt_dir", "ckpt_path", "evaluation_dir", *OWN_OPTIONS}
_NOTHING = "$None"  # MONAI's command line leaves a plain None out


@dataclass(frozen=True)
class Run:
    """One training on one fold with one seed, and its evaluations, in the folder OUT/LIST/RUN/seed_S/fold_F.

    The folder has `state.json` (definition, finished steps, last failure) from the first start on, `log.txt` with the
    output of all attempts, and `manifest.json` when all steps are finished.

    Args:
        experiment: name of the list.
        name: name of the run within the list.
        bundle: folder name below `bundles/`.
        configs: overlays after the bundle's `train.yaml`, relative to the checkout.
        options: overrides of training and evaluation.
        evaluation_options: overrides of the evaluation alone.
        fold: test fold.
        seed: seed of weights, order and augmentation.
        parts: parts of the split that are evaluated.
        epochs: of the training, at most.
        set_by_evaluation: settings that `evaluate.yaml` states itself; options of the training must not override them.
        root: the checkout that holds `bundles/`.
        out: folder of all results.
    """

    experiment: str
    name: str
    bundle: str
    configs: tuple[str, ...]
    options: dict[str, Any]
    evaluation_options: dict[str, Any]
    fold: int
    seed: int
    parts: tuple[str, ...]
    epochs: int
    set_by_evaluation: frozenset[str]
    root: Path
    out: Path

    @property
    def label(self) -> str:
        """The folder below the list's: `han/seed_0/fold_0`."""
        return f"{self.name}/seed_{self.seed}/fold_{self.fold}"

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.out / self.experiment / self.label

    @property
    def headline_part(self) -> str:
        """The part whose table is the run's: the test fold, else the first that is evaluated."""
        return "test" if "test" in self.parts else self.parts[0]

    def evaluation(self, part: str) -> Path:
        """Return the folder in which the bundle writes the evaluation of a part."""
        return self.folder / ("evaluation" if part == "test" else f"evaluation_{part}")

    def portable(self) -> Run:
        """Return the run without folders of this machine in its options."""
        options = (without_folder(given, relative=False) for given in (self.options, self.evaluation_options))
        return replace(self, **dict(zip(("options", "evaluation_options"), options, strict=True)))

    def definition(self) -> dict[str, Any]:
        """Return what must stay the same for the run to be the same."""
        run, keys = self.portable(), ("bundle", "configs", "options", "evaluation_options", "fold", "seed")
        return {key: list(run.configs) if key == "configs" else getattr(run, key) for key in keys}

    def state(self) -> dict[str, Any]:
        """Return what `state.json` holds: nothing before the first start."""
        path = self.folder / "state.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    def update_state(self, **entries: Any) -> None:
        """Write entries of `state.json`: `finished`, the seconds of each step, and `failure`."""
        new = {"definition": self.definition(), "finished": {}}
        write_json(self.folder / "state.json", {**new, **self.state(), **entries})

    def steps_left(self) -> list[str]:
        """Return the steps that are not finished, of the training and then each part."""
        return [step for step in ("training", *self.parts) if step not in self.state().get("finished", {})]

    def epoch_seconds(self) -> list[float]:
        """Return the seconds of each whole epoch so far, validation included."""
        path = self.folder / "history.csv"
        if not path.is_file():
            return []
        with open(path, newline="", encoding="utf-8") as file:
            return [float(row["seconds"]) for row in csv.DictReader(file)]

    def progress(self) -> str:
        """Return "to do", "part", "failed" or "done"."""
        if (self.folder / MANIFEST).is_file() and not self.steps_left():
            return "done"
        if self.state().get("failure"):
            return "failed"
        return "part" if self.state().get("finished") or self.epoch_seconds() else "to do"


def read_runs(path: str | os.PathLike[str], out: str | os.PathLike[str], only: Sequence[str] = ()) -> list[Run]:
    """Read a list of runs and check all of it, without building any network.

    Args:
        path: YAML file with `name`, `runs` (each with a `name`; or the path of a file that holds them, relative to the
            list) and, for the list or for a run, `bundle`, `configs`, `options`, `evaluation_options`, `folds`, `seeds`
            and `parts`.
        out: folder of all results.
        only: names of the runs to keep; none keeps all.

    Returns:
        The runs, all on one fold before any on the next: what is done when the time ends can be compared.

    Raises:
        ValueError: a fault of the list, or the folder of a run was started with another definition.
        FileNotFoundError: the list does not exist.
    """
    path = Path(path)
    content = _read_yaml(path)
    if isinstance(content, dict) and isinstance(content.get("runs"), str):
        shared = _read_yaml(path.parent / content["runs"])
        content["runs"] = shared.get("runs") if isinstance(shared, dict) else shared
    try:
        jsonschema.validate(content, _SCHEMA)
    except jsonschema.ValidationError as error:
        raise ValueError(f"{path}, {error.json_path.removeprefix('$.')}: {error.message}") from None
    names = [entry["name"] for entry in content["runs"]]
    twice, unknown = {name for name in names if names.count(name) > 1}, set(only) - set(names)
    if twice:
        raise ValueError(f"{path} names more than one run {', '.join(sorted(twice))}")
    if unknown:
        raise ValueError(f"{path} has no run {', '.join(sorted(unknown))}; its runs are {', '.join(names)}")
    root, runs = _find_root(path), []
    for entry in content["runs"]:
        settings = {key: entry.get(key, content.get(key, _DEFAULTS.get(key))) for key in _SETTINGS}
        for key in ("options", "evaluation_options"):
            settings[key] = {**content.get(key, {}), **entry.get(key, {})}
        folds, seeds = settings.pop("folds"), settings.pop("seeds")
        try:
            epochs, own = _check_configs(root, settings)
        except ValueError as error:
            raise ValueError(f"{path}, run {entry['name']}: {error}") from None
        settings.update(configs=tuple(settings["configs"]), parts=tuple(settings["parts"]), root=root, epochs=epochs)
        settings.update(experiment=content["name"], name=entry["name"], set_by_evaluation=own, out=Path(out).resolve())
        runs += [Run(**settings, seed=seed, fold=fold) for seed in seeds for fold in folds]
    runs = sorted((run for run in runs if not only or run.name in only), key=lambda run: (run.seed, run.fold))
    _check_definitions(runs)
    return runs


def _read_yaml(path: Path) -> Any:
    if not path.is_file():
        known = Path("scripts/experiments", path.name).with_suffix(".yaml")
        raise FileNotFoundError(f"list of runs {path} does not exist" + f"; did you mean {known}?" * known.is_file())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # duplicate keys
            return yaml.load(path.read_text(encoding="utf-8"), CheckKeyDuplicatesYamlLoader)
    except (yaml.YAMLError, UnicodeError, UserWarning) as error:
        raise ValueError(f"{path} is not a valid YAML file: {error}") from None


def _find_root(path: Path) -> Path:
    """Find the checkout: the nearest folder above the list with `bundles/`, else that of the package."""
    package = Path(hybrid_attention.__file__).resolve().parents[1]
    for folder in (*path.resolve().parents, package):
        if (folder / "bundles").is_dir():
            return folder
    raise FileNotFoundError(f"no folder `bundles` above {path} or in {package}: keep the list in a checkout")


def _check_configs(root: Path, settings: Mapping[str, Any]) -> tuple[int, frozenset[str]]:
    """Refuse options that name no key of the configs; return epochs and the settings of `evaluate.yaml`."""
    files = _config_files(settings["bundle"], settings["configs"], "evaluate.yaml")
    for file in files:
        if Path(file).is_absolute() or not (root / file).is_file():
            raise ValueError(f"{file} is not a config file relative to {root}")
    options, evaluation_options = settings["options"], settings["evaluation_options"]
    for key in [*options, *evaluation_options]:
        if re.split("#|::", key)[0] in _SET_BY_RUNNER:
            raise ValueError(f"{key} is set by the runner (folds, seeds, parts, --dataset_dir and --out)")
    paths, given = ([root / file for file in files], dict.fromkeys(_GIVEN, _NOTHING))
    config, faults = merge_configs(paths[:-1], {**_command_values(options), **given}, ("training",))
    extra = {**_command_values(evaluation_options), **given, "part": _NOTHING}
    faults += merge_configs(paths, extra, ("training", "evaluating"))[1]
    if faults:
        raise ValueError("; ".join(dict.fromkeys(faults)))
    epochs = options.get("epochs", config.get("epochs"))
    if not isinstance(epochs, int):
        raise ValueError(f"epochs must be a whole number from 1, got {epochs!r}")
    return epochs, frozenset(ConfigParser.load_config_file(str(paths[-1])))


def _config_files(bundle: str, overlays: Sequence[str], *last: str) -> list[str]:
    folder = f"bundles/{bundle}/configs"
    return [f"{folder}/train.yaml", *overlays, *(f"{folder}/{name}" for name in last)]


def _command_values(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _NOTHING if value is None else value for key, value in options.items()}


def _check_definitions(runs: Sequence[Run]) -> None:
    """Refuse runs whose folders were started with another definition."""
    faults = []
    for run in runs:
        if state := run.state():
            text = json.dumps(state["definition"]).replace("networks.peers.", "networks.baselines.")  # until 0.1
            earlier, now = _flat(json.loads(text)), _flat(run.definition())
            # a list that leaves these to the processor fits any; the checkpoint holds a run to what it began with
            for key in {"options.precision", "options.channels_last"} - now.keys():
                earlier.pop(key, None)
            faults += [f"{run.label}: {change}" for change in differences(earlier, now)]
    if faults:
        hint = "give the run another name, or remove its folder to start again"
        raise ValueError("\n  ".join([f"{runs[0].out} holds runs with another definition; {hint}:", *faults]))


def _flat(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Bring options to the top level, so that a difference names the option."""
    nested = {key: value if isinstance(value, dict) else None for key, value in definition.items()}
    flat = {f"{key}.{name}": value for key, options in nested.items() for name, value in (options or {}).items()}
    return {**flat, **{key: value for key, value in definition.items() if nested[key] is None}}


def bundle_command(
    run: Run, step: str, images: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str]
) -> list[str]:
    """Return the arguments of `python` for one step of a run, from the checkout as working directory.

    Args:
        run: the run.
        step: "training", or the part of the split to evaluate.
        images: folders of the data sets.
        folder: folder of the results.
    """
    training = step == "training"
    data = [os.fspath(image) for image in images]
    places = {"dataset_dir": data if len(data) > 1 else data[0], "output_dir": os.fspath(folder)}
    if training:
        options = {"resume": True, **run.options}
    else:
        kept = {key: value for key, value in run.options.items() if key not in run.set_by_evaluation}
        options = {**kept, **run.evaluation_options, "part": step}
    files = _config_files(run.bundle, run.configs, *([] if training else ["evaluate.yaml"]))
    options = _command_values({**places, "fold": run.fold, "seed": run.seed, **options})
    words = [word for key, value in options.items() for word in (f"--{key}", _literal(value))]
    return ["-m", "monai.bundle", "run", "training" if training else "evaluating", "--config_file", str(files), *words]


def _literal(value: Any) -> str:
    """Write a value so that MONAI's command line reads it back unchanged: plain words and expressions as such."""
    if value == _NOTHING or (isinstance(value, str) and re.fullmatch(r"[A-Za-z_/][\w./-]*", value, re.ASCII)):
        return value if value not in ("None", "True", "False") else repr(value)
    return repr(value)


def shell_line(words: Sequence[str]) -> str:
    """Return a command as it is typed into a shell; words with apostrophes in double quotes where that is enough."""
    quoted = [
        '"' + word + '"' if re.fullmatch(r"""[^"$`\\!]*'[^"$`\\!]*""", word) else shlex.quote(word) for word in words
    ]
    return " ".join(["python", *quoted])
