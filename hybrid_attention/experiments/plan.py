"""A declarative list of runs: read, spread over folds and seeds, and checked as a whole before anything runs."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hybrid_attention
import yaml
from hybrid_attention.engines.provenance import without_folder
from hybrid_attention.experiments.recipe import Recipe, read_recipe
from monai.utils.misc import CheckKeyDuplicatesYamlLoader

PARTS = ("test", "validation", "train")
_DEFAULTS: dict[str, Any] = {
    "bundle": None,
    "configs": [],
    "options": {},
    "evaluation_options": {},
    "folds": [0],
    "seeds": [0],
    "parts": ["test"],
}
# these two are added to the list's, key by key; the others replace them
_ADDED = ("options", "evaluation_options")


@dataclass(frozen=True)
class Run:
    """One training on one fold with one seed, and its evaluations.

    Args:
        experiment: name of the list.
        name: of the run within the list.
        bundle: folder name below `bundles/`.
        configs: overlays after the bundle's `train.yaml`, relative to the checkout.
        options: overrides of training and evaluation.
        evaluation_options: overrides of the evaluation alone.
        fold: test fold.
        seed: of weights, order and augmentation.
        parts: parts of the split that are evaluated.
        recipe: what the merged config says.
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
    recipe: Recipe

    @property
    def group(self) -> str:
        """Name and seed, what the folds of one cross-validation share: `han/seed_0`."""
        return f"{self.name}/seed_{self.seed}"

    @property
    def label(self) -> str:
        """The folder below the list's: `han/seed_0/fold_0`."""
        return f"{self.group}/fold_{self.fold}"

    @property
    def headline_part(self) -> str:
        """The part whose table is the run's: the test fold, else the first that is evaluated."""
        return "test" if "test" in self.parts else self.parts[0]

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done one after another: the training, then the parts that are evaluated."""
        return ("training", *self.parts)

    def definition(self) -> dict[str, Any]:
        """Return what must stay the same for a run to be the same, as plain values without folders of this machine."""
        return {
            "bundle": self.bundle,
            "configs": list(self.configs),
            "options": without_folder(self.options, relative=False),
            "evaluation_options": without_folder(self.evaluation_options, relative=False),
            "fold": self.fold,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Plan:
    """A checked list.

    Args:
        name: of the list, and of its folder among the results.
        root: the checkout that holds `bundles/`; the runs' working directory.
        runs: in the list's order, each with its seeds and folds.
    """

    name: str
    root: Path
    runs: tuple[Run, ...]

    def only(self, names: Sequence[str]) -> Plan:
        """Keep some runs.

        Args:
            names: of runs; none keeps all.

        Raises:
            ValueError: a name is not in the list.
        """
        known = list(dict.fromkeys(run.name for run in self.runs))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"{self.name} has no run {', '.join(unknown)}; its runs are {', '.join(known)}")
        return Plan(self.name, self.root, tuple(run for run in self.runs if not names or run.name in names))


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a list of runs and check it, without building any network.

    Args:
        path: YAML file with `name`, `runs` (each with a `name`, or the path of a file that holds them, seen from the
            list) and, for the list or for a run, `bundle`, `configs`, `options`, `evaluation_options`, `folds`, `seeds`
            and `parts`.

    Returns:
        The runs.

    Raises:
        ValueError: naming all faults of the list.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    content = _read_yaml(path)
    if isinstance(content, dict) and isinstance(content.get("runs"), str):
        place = path.parent / content["runs"]
        shared = _read_yaml(place)
        if not isinstance(shared, dict) or shared.keys() != {"runs"}:
            raise ValueError(f"{place}, the runs of {path}, must be a mapping with `runs` alone")
        content["runs"] = shared["runs"]
    if not isinstance(content, dict) or not isinstance(content.get("runs"), list) or not content["runs"]:
        raise ValueError(f"{path} must be a mapping with `name` and a list `runs` of one run or more")
    faults = _unknown_keys(content, {"name", "runs", *_DEFAULTS}) + _name_faults(content)
    root, runs, seen = find_root(path), [], set()
    for number, entry in enumerate(content["runs"], start=1):
        if not isinstance(entry, dict):
            faults.append(f"run {number} must be a mapping with a `name`, got {entry!r}")
            continue
        label = f"run {entry.get('name', number)!r}"
        own = _unknown_keys(entry, {"name", *_DEFAULTS}) + _name_faults(entry)
        if str(entry.get("name")) in seen:
            own.append("the name is given twice")
        seen.add(str(entry.get("name")))
        settings = _settings(content, entry)
        own += _type_faults(settings)
        if not own:
            recipe, own = read_recipe(root, **{key: settings[key] for key in settings if key != "parts"})
            if not faults:
                runs += _spread(content["name"], entry["name"], settings, recipe)
        faults += [f"{label}: {fault}" for fault in own]
    if faults:
        raise ValueError("\n  ".join([f"{path} has {len(faults)} fault{'s' * (len(faults) > 1)}:", *faults]))
    # all runs on one fold before any on the next: whenever the time ends, what is done can be compared
    return Plan(content["name"], root, tuple(sorted(runs, key=lambda run: (run.seed, run.fold))))


def _read_yaml(path: Path) -> Any:
    if not path.is_file():
        known = Path("scripts/experiments", path.name).with_suffix(".yaml")
        hint = f"; did you mean {known}?" if known.is_file() else ""
        raise FileNotFoundError(f"there is no list of runs {path}{hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a key that stands there twice
            return yaml.load(path.read_text(encoding="utf-8"), CheckKeyDuplicatesYamlLoader)
    except (yaml.YAMLError, UnicodeError, UserWarning) as error:
        raise ValueError(f"{path} is no YAML file that can be used: {error}") from None


def find_root(path: Path) -> Path:
    """Find the checkout: the nearest folder above the list with `bundles/`, else the one the package runs from.

    Args:
        path: the list.

    Raises:
        ValueError: neither is one.
    """
    package = Path(hybrid_attention.__file__).resolve().parents[1]
    for folder in (*path.resolve().parents, package):
        if (folder / "bundles").is_dir():
            return folder
    raise ValueError(f"no folder `bundles` above {path} or in {package}: keep the list in a checkout of the project")


def _settings(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    settings = {}
    for key, fallback in _DEFAULTS.items():
        general, own = (fallback if given.get(key) is None else given[key] for given in (defaults, entry))
        if key in _ADDED and isinstance(general, dict) and isinstance(own, dict):
            settings[key] = {**general, **own}
        else:
            settings[key] = general if entry.get(key) is None else own
    return settings


def _spread(experiment: str, name: str, settings: Mapping[str, Any], recipe: Recipe) -> list[Run]:
    return [
        Run(
            experiment,
            name,
            settings["bundle"],
            tuple(settings["configs"]),
            settings["options"],
            settings["evaluation_options"],
            fold,
            seed,
            tuple(settings["parts"]),
            recipe,
        )
        for seed in settings["seeds"]
        for fold in settings["folds"]
    ]


def _unknown_keys(given: Mapping[str, Any], known: set[str]) -> list[str]:
    return [f"unknown key {key!r}, known are {', '.join(sorted(known))}" for key in given if key not in known]


def _name_faults(given: Mapping[str, Any]) -> list[str]:
    name = given.get("name")
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_]+", name):
        return []
    return [f"`name` must be text of letters, digits and underscores (it names a folder), got {name!r}"]


def _type_faults(settings: Mapping[str, Any]) -> list[str]:
    faults = []
    if not isinstance(settings["bundle"], str):
        faults.append(f"`bundle` must be the name of a folder below bundles/, got {settings['bundle']!r}")
    for key in _ADDED:
        if not isinstance(settings[key], dict) or not all(isinstance(name, str) for name in settings[key]):
            faults.append(f"`{key}` must be a mapping of names to values, got {settings[key]!r}")
    for key, fits, what in (
        ("configs", lambda value: isinstance(value, str), "paths"),
        ("folds", _is_count, "whole numbers from 0"),
        ("seeds", _is_count, "whole numbers from 0"),
        ("parts", lambda value: value in PARTS, f"{', '.join(PARTS)}"),
    ):
        values = settings[key]
        if not isinstance(values, list) or not all(fits(value) for value in values):
            faults.append(f"`{key}` must be a list of {what}, got {values!r}")
        elif len(set(values)) < len(values) or (not values and key != "configs"):
            faults.append(f"`{key}` must name each value once and at least one, got {values!r}")
    return faults


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
