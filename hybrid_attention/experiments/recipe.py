"""What a run's config files and options come to, checked without building anything."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import pydoc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hybrid_attention.engines.overrides import OWN_OPTIONS, merge_configs
from hybrid_attention.engines.provenance import without_folder
from monai.bundle import ComponentLocator, ConfigParser

# null on a command line, where MONAI leaves a plain None out
NOTHING = "$None"
# the runner gives these itself
_GIVEN = ("dataset_dir", "output_dir", "fold", "seed", "resume")
# what the runner runs
_RUN_IDS = ("training", "evaluating")
_PLACES = {"ckpt_dir", "ckpt_path", "evaluation_dir", "part"}


@dataclass(frozen=True)
class Recipe:
    """What is known of a run from its configs.

    Args:
        epochs: at most.
        config_sha256: of the merged config with the options, without fold and seed.
        left_to_evaluation: top-level settings that the bundle's `evaluate.yaml` states itself, so that options of the
            training (`encoder_weights`) must not override them there.
    """

    epochs: int
    config_sha256: str
    left_to_evaluation: frozenset[str]


def read_recipe(
    root: Path,
    bundle: str,
    configs: Sequence[str],
    options: Mapping[str, Any],
    evaluation_options: Mapping[str, Any],
    folds: Sequence[int],
    seeds: Sequence[int],
) -> tuple[Recipe, list[str]]:
    """Merge the configs of a run and find what is wrong with them.

    Args:
        root: the checkout.
        bundle: folder name below `bundles/`.
        configs: overlays, relative to the checkout.
        options: overrides of training and evaluation.
        evaluation_options: overrides of the evaluation alone.
        folds: test folds.
        seeds: seeds.

    Returns:
        The recipe (empty where there are faults), and the faults in words.
    """
    nothing = Recipe(0, "", frozenset())
    files, faults = config_files(root, bundle, configs)
    if faults:
        return nothing, faults
    paths, given = [root / path for path in files], dict.fromkeys(_GIVEN, NOTHING)
    training, first = merge_configs(paths[:-1], {**_written(options), **given}, _RUN_IDS)
    _, second = merge_configs(paths, {**_written(evaluation_options), **given, "part": NOTHING}, _RUN_IDS)
    faults = [*_value_faults(options), *_value_faults(evaluation_options), *first, *second]
    if faults:
        return nothing, list(dict.fromkeys(faults))
    own = frozenset(ConfigParser.load_config_file(str(paths[-1])))
    parser = ConfigParser(training)
    parser.update(without_folder(options, relative=False))
    merged = parser.get()
    faults = [*_target_faults(merged, options), *_fold_faults(merged, folds)]
    text = json.dumps(merged, sort_keys=True, default=str)
    epochs = merged.get("epochs")
    if not isinstance(epochs, int):
        return nothing, [*faults, f"epochs must be a whole number from 1, got {epochs!r}"]
    return Recipe(epochs, hashlib.sha256(text.encode()).hexdigest(), own), faults


def config_files(root: Path, bundle: str, configs: Sequence[str]) -> tuple[list[str], list[str]]:
    """List the config files of a run: the bundle's train.yaml, the overlays, the bundle's evaluate.yaml.

    Args:
        root: the checkout.
        bundle: folder name below `bundles/`.
        configs: overlays, relative to the checkout.

    Returns:
        Paths relative to the checkout, and faults in words.
    """
    folder = f"bundles/{bundle}/configs"
    if not (root / folder).is_dir():
        known = sorted(path.parent.parent.name for path in (root / "bundles").glob("*/configs/train.yaml"))
        return [], [f"there is no bundle {bundle!r} in {root}/bundles, which holds {', '.join(known) or 'none'}"]
    files = [f"{folder}/train.yaml", *configs, f"{folder}/evaluate.yaml"]
    faults = [f"config {name} must be relative to the checkout" for name in files if Path(name).is_absolute()]
    faults += [f"there is no config file {name} in {root}" for name in files if not (root / name).is_file()]
    return files, faults


def _written(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: NOTHING if value is None else value for key, value in options.items()}


def _value_faults(options: Mapping[str, Any]) -> list[str]:
    faults = []
    for key, value in options.items():
        top = key.replace("::", "#").split("#")[0]
        if top in {*_GIVEN, *_PLACES, *OWN_OPTIONS}:
            faults.append(f"option {key} is set by the runner (folds, seeds, parts, --dataset_dir and --out say what)")
        elif not _is_plain(value):
            faults.append(f"option {key} must be text, a number, true, false, null, a list or a mapping, got {value!r}")
        elif isinstance(value, str) and _reads_as_number(value):
            faults.append(f"option {key} is the text {value!r} in YAML: write it as a number, with a point (1.0e-3)")
    return faults


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or (isinstance(value, bool | int | str | float) and not _is_endless(value))


def _is_endless(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _reads_as_number(text: str) -> bool:
    try:
        return isinstance(ast.literal_eval(text), int | float)
    except (ValueError, SyntaxError):
        return False


def _target_faults(merged: Any, options: Mapping[str, Any]) -> list[str]:
    """Name the components that can't be imported; MONAI's short names are looked up where options bring them."""
    given = set(_targets(dict(options)))
    faults = []
    for target in sorted(set(_targets(merged))):
        if "." in target:
            fault = _import_fault(target)
        else:
            fault = "" if target not in given or _locator().get_component_module_name(target) else "MONAI has none"
        if fault:
            faults.append(f"_target_ {target} can't be imported: {fault}")
    return faults


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if isinstance(target, str) and target[:1] not in ("$", "@"):
            yield target
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _targets(entry)


@cache
def _import_fault(target: str) -> str:
    try:
        return "" if pydoc.locate(target) is not None else "there is no such module or name"
    except pydoc.ErrorDuringImport as error:
        return f"{type(error.value).__name__}: {error.value}"


@cache
def _locator() -> ComponentLocator:
    return ComponentLocator()


def _fold_faults(merged: Mapping[str, Any], folds: Sequence[int]) -> list[str]:
    count = merged.get("num_folds")
    if not isinstance(count, int):
        return []
    return [f"fold must be from 0 to {count - 1}, got {fold}" for fold in folds if fold >= count]
