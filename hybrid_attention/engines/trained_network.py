"""The network that weights were trained with, built from the record beside them without running its expressions."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from hybrid_attention.engines.training_record import trained_setting
from hybrid_attention.networks import baselines
from monai.bundle import ConfigParser

NETWORK = "network_def"
# whose networks a record may name: a record comes with weights, perhaps from people you don't know
_TRUSTED = "hybrid_attention.networks"
# which takes a network that is checked as any other, and a number
_GROUP_NORM = f"{_TRUSTED}.with_group_norm"
# arguments that would fetch or read other files; the trained weights replace what they bring
_WEIGHTS = {"encoder_weights": None, "pretrained": False}


def trained_network(weights: str | os.PathLike[str], default: torch.nn.Module, **references: Any) -> torch.nn.Module:
    """Build the network that weights were trained with.

    Args:
        weights: the weight file; the record of its training lies beside it.
        default: what is returned where there is no record.
        references: values of what the record's `network_def` refers to, `@in_channels` for example.

    Returns:
        The network, untrained.

    Raises:
        ValueError: the record names anything but a network of this package, an expression, or an unknown reference.
    """
    definition = trained_setting(weights, NETWORK, None)
    if definition is None:
        return default
    network: torch.nn.Module = ConfigParser({NETWORK: plain_definition(definition, references)}).get_parsed_content(
        NETWORK
    )
    return network


def plain_definition(definition: Any, references: Mapping[str, Any]) -> Any:
    """Return the definition of a network with plain values alone, nothing of which is executed when it is built.

    Args:
        definition: as a config has it: a dict with `_target_`, nested dicts, lists, values.
        references: values by the names that it refers to.

    Raises:
        ValueError: see `trained_network`.
    """
    if isinstance(definition, Mapping):
        for key in definition:
            if str(key).startswith("_") and key != "_target_":
                raise ValueError(f"a record of training asks for {key!r}, which is not done")
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
        raise ValueError(f"a record of training asks to evaluate {definition!r}, which is not done")
    return definition


def _check_target(target: str) -> None:
    """Refuse all but the networks of this package, the functions that build the baselines, and `with_group_norm`."""
    module, _, name = target.rpartition(".")
    found = None
    if module == _TRUSTED or module.startswith(f"{_TRUSTED}."):
        with suppress(ImportError):  # of a path that leads through other modules' attributes
            found = getattr(importlib.import_module(module), name, None)
    home = str(getattr(found, "__module__", ""))
    is_network = isinstance(found, type) and issubclass(found, torch.nn.Module) and home.startswith(f"{_TRUSTED}.")
    is_builder = target == _GROUP_NORM or (module == baselines.__name__ and name in baselines.__all__)
    if not (is_network or is_builder):
        raise ValueError(f"a record of training names {target!r}: only networks of {_TRUSTED} are built from a record")
