"""What the runtimes of exported networks share: which files they take, and tensors in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_dst_type


def networks_input(path: Path, inputs: Mapping[str, Sequence[Any]], outputs: Sequence[str]) -> int | None:
    """Return how many channels an exported network takes.

    Args:
        path: of the file, for the message.
        inputs: shape of each input by its name; what varies is no number.
        outputs: names.

    Returns:
        The number, or None where it varies.

    Raises:
        ValueError: the file is not a network that this package exported.
    """
    if list(inputs) != ["image"] or list(outputs) != ["pred"] or len(inputs["image"]) < 4:
        raise ValueError(
            f"{path} is another model than those that this package exports: it takes {', '.join(inputs) or 'nothing'} "
            f"and gives {', '.join(outputs) or 'nothing'}, not image and pred"
        )
    channels = inputs["image"][1]
    return channels if isinstance(channels, int) else None


def exported_output(
    run: Callable[[np.ndarray], np.ndarray], x: torch.Tensor, channels: int | None, path: Path
) -> torch.Tensor:
    """Return the output of an exported network for a tensor, with the metadata of the input where it has any.

    Args:
        run: from array to array; raises whatever it likes.
        x: the batch.
        channels: what the network takes; None for any.
        path: of the file, for messages.

    Returns:
        float32, on the CPU.

    Raises:
        ValueError: the batch doesn't fit.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        raise ValueError(f"an exported network takes float32 on the CPU, received {x.dtype} on {x.device}")
    if x.ndim < 4 or (channels is not None and x.shape[1] != channels):
        raise ValueError(f"{path.name} takes (batch, {channels or 'channels'}, *spatial), received {tuple(x.shape)}")
    try:
        output = run(np.ascontiguousarray(x.detach().numpy()))
    except Exception as error:  # runtimes raise their own kinds, with pages of text
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path.name} can't be computed for a batch of {tuple(x.shape)}: {reason}") from error
    tensor = torch.from_numpy(np.array(output, dtype=np.float32))
    return convert_to_dst_type(tensor, x, dtype=torch.float32)[0]
