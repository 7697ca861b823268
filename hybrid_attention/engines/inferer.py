"""The forward pass in lower precision and in the memory format that convolutions like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from monai.inferers import SimpleInferer

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


Output = TypeVar("Output", bound="torch.Tensor | tuple[torch.Tensor | None, ...]")


class PrecisionInferer(SimpleInferer):
    """Run a network under autocast on any device, and return its output, a tensor, list or named tuple, in float32.

    MONAI's engines autocast on CUDA only; this inferer does it on the CPU as well, where bf16 doubles the speed of
    recent processors. Weights, loss and optimizer stay in float32. Training in fp16 needs a gradient scaler besides:
    give the trainer `amp: true`.

    Args:
        precision: "fp32", "bf16" or "fp16" (CUDA only).
        channels_last: lay images out as channels-last, as the network's weights should be.

    Raises:
        ValueError: unknown precision, or fp16 on a CPU.
    """

    def __init__(self, precision: str = "fp32", channels_last: bool = False) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.precision = precision
        self.dtype = PRECISIONS[precision]
        self.channels_last = channels_last

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Output], *args: Any, **kwargs: Any) -> Output:
        """Return `network(inputs)` in float32.

        Args:
            inputs: (B, C, spatial…).
            network: module or function.
            args: passed to the network.
            kwargs: passed to the network.

        Returns:
            The network's output, float32; fields of a named tuple that are None stay None.
        """
        if self.precision == "fp16" and inputs.device.type != "cuda":
            raise ValueError("precision fp16 needs a CUDA device; on a CPU use bf16 or fp32")
        if self.channels_last:
            layout = torch.channels_last if inputs.ndim == 4 else torch.channels_last_3d
            inputs = inputs.contiguous(memory_format=layout)
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            output = network(inputs, *args, **kwargs)
        return _in_float32(output)


def _in_float32(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.float()
    if isinstance(output, list):
        return [_in_float32(one) for one in output]
    return type(output)(*(None if field is None else field.float() for field in output))


def to_memory_format(network: torch.nn.Module, channels_last: bool) -> torch.nn.Module:
    """Lay a network's convolution weights out as channels-last, or leave them.

    Args:
        network: changed in place.
        channels_last: whether to change the layout.

    Returns:
        The network.
    """
    if channels_last:
        is_3d = any(parameter.ndim == 5 for parameter in network.parameters())
        network.to(memory_format=torch.channels_last_3d if is_3d else torch.channels_last)  # type: ignore[call-overload]
    return network
