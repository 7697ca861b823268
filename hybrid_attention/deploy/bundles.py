"""Bundles by their names, from a checkout, an unpacked archive or any folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

import hybrid_attention
from hybrid_attention.engines.trained_network import NETWORK, plain_definition
from hybrid_attention.engines.training_record import trained_setting
from hybrid_attention.engines.weight_files import find_weights, load_weights

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.yaml"
# of a config that looks into the record by itself
DEFAULT_NETWORK = "default_network"


def bundle_folder(bundle: str | os.PathLike[str]) -> Path:
    """Find the folder of a bundle.

    Args:
        bundle: folder of a bundle; or the name of one below `bundles/` of the checkout that this package runs from, or
            of the unpacked archive that holds it.

    Returns:
        The folder, which holds `configs/metadata.json`.

    Raises:
        ValueError: there is no such bundle; the message lists those that are there.
    """
    home = Path(hybrid_attention.__file__).resolve().parents[1]
    own = {path.parents[1].name: path.parents[1] for path in [home / METADATA, *home.glob(f"bundles/*/{METADATA}")]}
    own = {name: folder for name, folder in own.items() if (folder / METADATA).is_file()}
    given = Path(bundle)
    if str(bundle) in own:
        return own[str(bundle)]
    if (given / METADATA).is_file():
        return given.resolve()
    known = f"those here are {', '.join(sorted(own))}" if own else "there are none here: work in a checkout"
    raise ValueError(f"{bundle} is no bundle: {known}; or give a folder with {METADATA}")


def inference_parser(folder: Path, **settings: Any) -> ConfigParser:
    """Read a bundle's config for inference.

    Where `ckpt_path` has a record of training, the network is the one of that record.

    Args:
        folder: of the bundle.
        settings: keys of the config and their new values; `A#B` names B in A.

    Returns:
        The parser, of which parts can be made by `get_parsed_content`.

    Raises:
        ValueError: the record asks for what a network is not made of; see `plain_definition`.
    """
    parser = ConfigParser()
    parser.read_config(str(folder / INFERENCE))
    own = parser.config[NETWORK]
    trained = trained_setting(settings["ckpt_path"], NETWORK, own) if "ckpt_path" in settings else own
    if DEFAULT_NETWORK not in parser.config and _without_weights(trained) != _without_weights(own):
        parser.update({NETWORK: plain_definition(trained, {})})
    parser.update({"bundle_root": str(folder), **settings})
    return parser


def _without_weights(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {**definition, "encoder_weights": None}


def bundle_network(folder: Path, weights: str | os.PathLike[str] | None = None) -> torch.nn.Module:
    """Make a bundle's network for inference, with its weights.

    Args:
        folder: of the bundle.
        weights: the weight file, its first part, or the folder of a run; None for the bundle's own.

    Returns:
        `network_def` of the config, in evaluation mode: one tensor in, one out.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: they are damaged or of another architecture.
    """
    path = find_weights(folder if weights is None else weights)
    network: torch.nn.Module = inference_parser(folder, ckpt_path=str(path)).get_parsed_content("network_def")
    return load_weights(network, path)
