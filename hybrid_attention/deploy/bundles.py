"""Bundles by their names, or from any folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hybrid_attention.engines.bundles import METADATA, own_bundles
from hybrid_attention.engines.run_record import read_record, trained_setting
from hybrid_attention.engines.trained_model import NETWORK, plain_definition
from hybrid_attention.engines.weight_files import RELEASED, find_weights, load_weights
from monai.bundle import ConfigParser

DEFAULT_BUNDLE = "hybrid_lite"
INFERENCE = "configs/inference.yaml"
# of a config that looks into the record by itself
DEFAULT_NETWORK = "default_network"
_PATHS = ("ckpt_path", "dataset_dir", "output_dir")


def bundle_folder(bundle: str | os.PathLike[str]) -> Path:
    """Find the folder of a bundle.

    Args:
        bundle: folder of a bundle; or the name of one that comes with this package, see `own_bundles`.

    Returns:
        The folder, which holds `configs/metadata.json`.

    Raises:
        ValueError: there is no such bundle; the message lists those that are there.
    """
    own = own_bundles()
    given = Path(bundle)
    if str(bundle) in own:
        return own[str(bundle)]
    if (given / METADATA).is_file():
        return given.resolve()
    raise ValueError(f"{bundle} is not a bundle: choose {', '.join(sorted(own))}, or a folder with {METADATA}")


def weights_of(folder: Path, weights: str | os.PathLike[str] | None = None) -> Path:
    """Find the weights that a bundle shall be used with.

    Args:
        folder: of the bundle.
        weights: the weight file, its first part, or the folder of a run; None for the bundle's own.

    Returns:
        The file, or the first of its parts.

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


def inference_parser(folder: Path, **settings: Any) -> ConfigParser:
    """Read a bundle's config for inference.

    Where `ckpt_path` has a record of training, the network is the one of that record. What both say alike, expressions
    among it, is taken from the config.

    Args:
        folder: of the bundle.
        settings: keys of the config and their new values; `A#B` names B in A.

    Returns:
        The parser, of which parts can be made by `get_parsed_content`.

    Raises:
        ValueError: the record is of another bundle, or asks for what a network is not made of; see `plain_definition`.
    """
    parser = ConfigParser()
    parser.read_config(str(folder / INFERENCE))
    if "ckpt_path" in settings:
        _check_bundle(folder, settings["ckpt_path"])
        trained = other_network(parser.config, settings["ckpt_path"])
        if trained is not None:
            own = parser.config[NETWORK]
            same = {key: value for key, value in trained.items() if key in own and own[key] == value}
            other = {key: value for key, value in trained.items() if key not in same}
            parser.update({NETWORK: {**same, **plain_definition(other, {})}})
    paths = {key: os.path.abspath(settings.pop(key)) for key in _PATHS if key in settings}
    parser.update(settings)
    parser.parse()
    # not as text of the config, where # is another way to write ::, and $, @ and % begin an expression
    parser.ref_resolver.resolved_content.update({"bundle_root": os.path.abspath(folder), **paths})
    return parser


def other_network(config: Mapping[str, Any], weights: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the definition of the network that weights were trained with, if it is not the config's own.

    Args:
        config: for inference.
        weights: the weight file; the record of its training lies beside it.

    Returns:
        None where it is the config's, nothing is known, or the config looks into the record by itself.
    """
    own = config[NETWORK]
    trained = trained_setting(weights, NETWORK, own)
    same = {**trained, "encoder_weights": None} == {**own, "encoder_weights": None}
    return None if same or DEFAULT_NETWORK in config else dict(trained)


def trained_bundle(weights: str | os.PathLike[str] | None) -> str:
    """Return the name of the bundle that weights were trained with, by their record.

    Args:
        weights: the weight file, its first part, or the folder of a run; None for no weights.

    Returns:
        The name; the default bundle where the record names none of this project.
    """
    name = "" if weights is None else _recorded_bundle(find_weights(weights))
    return name if name in own_bundles() else DEFAULT_BUNDLE


def _recorded_bundle(weights: str | os.PathLike[str]) -> str:
    configs = (read_record(weights) or {}).get("provenance", {}).get("config_files", {})
    return next(iter(configs), "").partition("/")[0]


def _check_bundle(folder: Path, weights: str | os.PathLike[str]) -> None:
    """Refuse weights that another bundle of this project was trained to."""
    trained = _recorded_bundle(weights)
    if trained != folder.name and {trained, folder.name} <= set(own_bundles()):
        raise ValueError(f"{weights} were trained with the bundle {trained}, not {folder.name}: name that bundle")


def bundle_network(folder: Path, weights: str | os.PathLike[str] | None = None) -> torch.nn.Module:
    """Make a bundle's network for inference, with its weights.

    Args:
        folder: of the bundle.
        weights: the weight file, its first part, or the folder of a run; None for the bundle's own.

    Returns:
        `network_def` of the config, in evaluation mode: one tensor in, one out.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: they are damaged or do not fit the network.
    """
    path = weights_of(folder, weights)
    network: torch.nn.Module = inference_parser(folder, ckpt_path=str(path)).get_parsed_content("network_def")
    return load_weights(network, path)
