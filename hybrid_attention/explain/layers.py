"""Which layer of a network is explained, and what to say when it can't be."""

from __future__ import annotations

import difflib

from torch import nn

_SHOWN = 30


def layer_name(network: nn.Module, layer: str | None = None) -> str:
    """Return the layer of a network that Grad-CAM looks at.

    Args:
        network: whose layers have the names of `network.named_modules()`.
        layer: name of one of them, or None for the network's own choice, its attribute `gradcam_layer`.

    Returns:
        The layer's name.

    Raises:
        ValueError: the network has no such layer, or none is given and it names none; the message lists what there is.
    """
    lists = (nn.ModuleList, nn.ModuleDict)  # they hold layers and never run themselves
    names = [name for name, part in network.named_modules() if name and not isinstance(part, lists)]
    kind = type(network).__name__
    if layer is None:
        default = getattr(network, "gradcam_layer", None)
        if default is None:
            raise ValueError(
                f"{kind} has no attribute gradcam_layer, the layer to explain; give layer, one of: {_choice(names)}"
            )
        layer = str(default)
    if layer not in names:
        raise ValueError(f"{kind} has no layer {layer!r}; it has: {_choice(names, layer)}")
    return layer


def _choice(names: list[str], wanted: str = "") -> str:
    """List the names most like `wanted`, then those of the upper two levels."""
    close = difflib.get_close_matches(wanted, names, n=8, cutoff=0.4)
    upper = [name for name in names if name.count(".") <= 1 and name not in close]
    shown = (close + upper)[:_SHOWN]
    return ", ".join(shown) + (f" … ({len(names)} in all)" if len(shown) < len(names) else "")
