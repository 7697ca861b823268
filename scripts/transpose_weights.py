"""Convert weights of networks that were trained on images of shape (W, H), as all once were, to (H, W).

python scripts/transpose_weights.py model.pt

The converted network gives the transposed output for the transposed image. Every kernel is transposed; in the position
embedding of TAM, rows and columns change places, and so do the halves of the channels that each is added to. Those of
`HybridLiteNet` stay as they are: it transposed its images itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

State = dict[str, torch.Tensor]
_OTHER = {"position.axes.0": "position.axes.1", "position.axes.1": "position.axes.0"}


def transpose_weights(state: State) -> State:
    """Return the weights of a 2D network, for images whose axes have changed places.

    Args:
        state: state dict of the network, or a part of it.
    """
    converted = {}
    for key, value in state.items():
        name, tam, within = key.rpartition(".tam.")
        if tam:
            if within.startswith("reduce.") and value.ndim:
                value = _swap_halves(value, value.shape[0], 0)
            elif within.endswith("weight") and value.ndim == 4:  # of what reads the reduced features
                value = _swap_halves(value, value.shape[1] // (3 if within.startswith("expand.") else 1), 1)
            key = name + tam + _OTHER.get(within, within)
        converted[key] = value.transpose(2, 3).contiguous() if value.ndim == 4 else value
    return converted


def _swap_halves(value: torch.Tensor, width: int, axis: int) -> torch.Tensor:
    """Swap the halves of the last `width` channels of an axis."""
    others, first, second = value.split([value.shape[axis] - width, width // 2, width // 2], axis)
    return torch.cat([others, second, first], axis)


def main() -> None:
    """Rewrite the files in place."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("weights", nargs="+", type=Path, help="weight files, or the parts of one")
    for path in options.parse_args().weights:
        torch.save(transpose_weights(torch.load(path, "cpu", weights_only=True)), path)


if __name__ == "__main__":
    main()
