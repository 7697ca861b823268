"""The network that weights were trained with, built from the record beside them without running its expressions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from monai.bundle import ConfigParser

from hybrid_attention.engines.training_record import trained_setting

NETWORK = "network_def"
# whose classes a record may name: a record comes with weights, perhaps from people you don't know
_LIBRARIES = ("hybrid_attention.networks.", "monai.networks.")


def trained_network(weights: str | os.PathLike[str], default: torch.nn.Module, **references: Any) -> torch.nn.Module:
    """Build the network that weights were trained with.

    Args:
        weights: the weight file; the record of its training lies beside it.
        default: what is returned where there is no record.
        references: values of what the record's `network_def` refers to, `@in_channels` for example.

    Returns:
        The network, untrained.

    Raises:
        ValueError: the record names a class of another library, an expression, or an unknown reference.
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
        target = definition.get("_target_")
        if target is not None and not str(target).startswith(_LIBRARIES):
            raise ValueError(f"a record of training names {target!r}: only {' and '.join(_LIBRARIES)} are trusted")
        plain = {key: plain_definition(value, references) for key, value in definition.items()}
        if "encoder_weights" in plain:
            plain["encoder_weights"] = None  # the trained weights hold the encoder
        return plain
    if isinstance(definition, list):
        return [plain_definition(value, references) for value in definition]
    if isinstance(definition, str) and definition.startswith("@") and definition[1:] in references:
        return references[definition[1:]]
    if isinstance(definition, str) and definition.startswith(("$", "@", "%")):
        raise ValueError(f"a record of training asks to evaluate {definition!r}, which is not done")
    return definition
