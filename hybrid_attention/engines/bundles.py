"""Bundles: their networks and configs for inference with trained weights."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from pydoc import locate
from typing import Any

import hybrid_attention
import torch
from hybrid_attention import data, phantoms
from hybrid_attention.engines.command_line import config_files
from hybrid_attention.engines.training_record import read_record, trained_setting
from hybrid_attention.engines.weights import RELEASED, find_weights, load_weights
from hybrid_attention.networks import baselines
from hybrid_attention.prediction.bundles import METADATA, default_bundle, own_bundles
from monai.bundle import ConfigComponent, ConfigParser

INFERENCE = "configs/inference.yaml"
DEFAULT_NETWORK = "default_network"  # key of a config that reads the record by itself
NETWORK = "network_def"
# the only package whose networks are built: records come with weights, perhaps from an untrusted source
_TRUSTED = "hybrid_attention.networks"
# arguments that would download or read files; trained weights replace them
_WEIGHTS = {"encoder_weights": "random", "pretrained": False}


def bundle_folder(bundle: str | os.PathLike[str]) -> Path:
    """Return the folder of a bundle, given that folder or the name of one of `own_bundles`."""
    own = own_bundles()
    if str(bundle) in own:
        return own[str(bundle)]
    if (Path(bundle) / METADATA).is_file():
        return Path(bundle).resolve()
    raise ValueError(f"{bundle} is not a bundle: choose {', '.join(sorted(own))}, or a folder with {METADATA}")


def find_bundle_root(name: str) -> str:
    """Return the folder of a bundle whose config is being run, from any working directory and even if it was moved.

    It is the parent of the `configs/` folder of the config file on the command line; without a command line (a workflow
    created in Python), the bundle of that name in `own_bundles`; else the working directory, as in MONAI.
    """
    files = [path.resolve() for path in config_files()[:1] if path.is_file()]
    if files and files[0].parent.name == "configs":
        return str(files[0].parents[1])
    for folder in own_bundles().values():
        if folder.name == name or (folder / "hybrid_attention").is_dir():  # an archive's folder may have another name
            return str(folder)
    return str(Path.cwd())


def run_folder(bundle_root: str) -> str:
    """Return a bundle's folder; for one in the installed package, a folder of its name in the working directory."""
    root, package = Path(bundle_root), Path(hybrid_attention.__file__).resolve().parent
    return str(Path.cwd() / root.name) if package in root.resolve().parents else bundle_root


def default_images(bundle_root: str) -> data.OnDemand:
    """Return a folder of synthetic phantoms below `run_folder`, which are written on first use."""
    return data.OnDemand(lambda: phantoms.write_phantom_dataset(run_folder(bundle_root) + "/data/phantoms"))


def weights_of(folder: Path, weights: str | os.PathLike[str] | None = None) -> Path:
    """Find weights, by default those of the bundle in a folder.

    Raises:
        FileNotFoundError: there are none; the message names the bundles that come with weights.
    """
    if weights is not None:
        return find_weights(weights)
    try:
        return find_weights(folder)
    except FileNotFoundError:
        own = own_bundles()
        released = [name for name in sorted(own) if any((own[name] / "models" / RELEASED).glob("model_1_of_*.pt"))]
        others = f"; bundles that come with weights: {', '.join(released)}" if released else ""
        raise FileNotFoundError(
            f"the bundle {folder.name} has no trained weights: train it, or name the folder of a run "
            f"(--weights RUN){others}"
        ) from None


def trained_bundle(weights: str | os.PathLike[str] | None) -> str:
    """Return the name of the bundle that weights were trained with; the default one if their record does not say."""
    name = "" if weights is None else _recorded_bundle(find_weights(weights))
    return name if name in own_bundles() else default_bundle()


def inference_parser(folder: Path, **settings: Any) -> ConfigParser:
    """Read the config for inference of the bundle in a folder, with new values of its keys; `A#B` is B in A.

    If `ckpt_path` has a record of its training, the network is that of the record. Arguments that are the same in both,
    including expressions, are taken from the config.

    Raises:
        ValueError: the record is of another bundle, or its network is not allowed (see `plain_definition`).
    """
    parser = ConfigParser()
    parser.read_config(str(folder / INFERENCE))
    if "ckpt_path" in settings:
        weights = settings["ckpt_path"]
        trained_with = _recorded_bundle(weights)
        if trained_with != folder.name and {trained_with, folder.name} <= set(own_bundles()):
            raise ValueError(
                f"{weights} were trained with the bundle {trained_with}, not {folder.name}: name that bundle"
            )
        trained = other_network(parser.config, weights)
        if trained is not None:
            own = parser.config[NETWORK]
            same = {key: value for key, value in trained.items() if key in own and own[key] == value}
            other = {key: value for key, value in trained.items() if key not in same}
            parser.update({NETWORK: {**same, **plain_definition(other, {})}})
    paths = {"bundle_root": folder, **{key: settings.pop(key) for key in ("ckpt_path",) if key in settings}}
    parser.update(settings)
    parser.parse()
    # not as text of the config, where # is another way to write ::, and $, @ and % begin an expression
    parser.ref_resolver.resolved_content.update({key: os.path.abspath(path) for key, path in paths.items()})
    return parser


def other_network(config: Mapping[str, Any], weights: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the definition of the network of a record, or None if the config has the same or reads it by itself.

    The same are definitions that differ in arguments which are the defaults.
    """
    own = config[NETWORK]
    trained = trained_setting(weights, NETWORK, own)
    builder: Any = locate(ConfigComponent(own).resolve_module_name())
    defaults = {name: argument.default for name, argument in inspect.signature(builder).parameters.items()}
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    same = {**defaults, **trained, "encoder_weights": None} == {**defaults, **own, "encoder_weights": None}
    return None if same or DEFAULT_NETWORK in config else dict(trained)


def bundle_network(folder: Path, weights: str | os.PathLike[str] | None = None) -> torch.nn.Module:
    """Build `network_def` of a bundle's config for inference, in evaluation mode, with the weights of `weights_of`."""
    path = weights_of(folder, weights)
    return load_weights(inference_parser(folder, ckpt_path=str(path)).get_parsed_content(NETWORK), path)


def trained_network(weights: str | os.PathLike[str], default: torch.nn.Module, **references: Any) -> torch.nn.Module:
    """Build the network that weights were trained with, without these weights; without a record, return the default.

    `references` are values for those of the record's `network_def`, `@in_channels` for example.

    Raises:
        ValueError: see `plain_definition`.
    """
    definition = trained_setting(weights, NETWORK, None)
    if definition is None:
        return default
    network: torch.nn.Module = ConfigParser(plain_definition(definition, references)).get_parsed_content()
    return network


def plain_definition(definition: Any, references: Mapping[str, Any]) -> Any:
    """Return the definition of a network with values for its references, so that building it executes no code.

    Raises:
        ValueError: it names anything but networks of this package, or contains an expression or an unknown reference.
    """
    if isinstance(definition, Mapping):
        for key in definition:
            if str(key).startswith("_") and key != "_target_":
                raise ValueError(f"the record of a training uses {key!r}, which is not allowed")
        if "_target_" in definition:
            _check_target(str(definition["_target_"]))
        return {
            key: _WEIGHTS[key] if key in _WEIGHTS else plain_definition(value, references)
            for key, value in definition.items()
        }
    if isinstance(definition, list):
        return [plain_definition(value, references) for value in definition]
    if isinstance(definition, str) and definition.startswith("@") and definition[1:] in references:
        return references[definition[1:]]
    if isinstance(definition, str) and definition.startswith(("$", "@", "%")):
        raise ValueError(f"the record of a training contains the expression {definition!r}, which is not allowed")
    return definition


def _check_target(target: str) -> None:
    """Accept only networks of this package, the builders of the baselines, and `with_group_norm`, which takes one."""
    module, _, name = target.rpartition(".")
    found = None
    if module == _TRUSTED or module.startswith(f"{_TRUSTED}."):
        with suppress(ImportError):  # of a path that leads through other modules' attributes
            found = getattr(importlib.import_module(module), name, None)
    home = str(getattr(found, "__module__", ""))
    is_network = isinstance(found, type) and issubclass(found, torch.nn.Module) and home.startswith(f"{_TRUSTED}.")
    is_builder = target == f"{_TRUSTED}.with_group_norm" or (module == baselines.__name__ and name in baselines.__all__)
    if not (is_network or is_builder):
        raise ValueError(f"the record of a training names {target!r}: only networks of {_TRUSTED} are allowed")


def _recorded_bundle(weights: str | os.PathLike[str]) -> str:
    configs = (read_record(weights) or {}).get("provenance", {}).get("config_files", {})
    return next(iter(configs), "").partition("/")[0]
