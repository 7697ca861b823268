"""What computes a network at inference: PyTorch, or a converted copy of it."""

from __future__ import annotations

import importlib.util
import logging

import torch
from torch import nn

from hybrid_attention.deploy.backends import CONVERTED, on_backend

AUTO = "auto"
TORCH = "torch"
CHOICES = (AUTO, TORCH, *CONVERTED)
# which backends compute in a precision, the fastest first (docs/deployment.md has the times)
_FASTEST = {"fp32": ("onnx", "openvino"), "bf16": ("openvino",)}
# as many images pay for the seconds that it takes to convert and load
WORTH_CONVERTING = 30

logger = logging.getLogger(__name__)


def run_on(backend: str, network: nn.Module, precision: str = "fp32", images: int | None = None) -> nn.Module:
    """Return a module that computes what a network does, on a backend.

    Args:
        backend: "torch" for the network itself; "onnx" (ONNX Runtime) or "openvino" for a copy on the CPU that is
            converted at the first batch, from the weights that the network has then (`on_backend`); "auto" for what is
            fastest: the network itself on a GPU and for fewer than 30 images, else ONNX Runtime in fp32 and OpenVINO in
            bf16, or the other one if it can and is alone installed, or the network itself.
        network: the module; its device counts.
        precision: fp32, bf16 or fp16, as `PrecisionInferer` has it.
        images: how many there will be; None for many.

    Raises:
        ValueError: there is no such backend, or it has no such precision or device.
    """
    if backend not in CHOICES:
        raise ValueError(f"backend must be one of {', '.join(CHOICES)}, got {backend!r}")
    device = next(network.parameters()).device.type
    if backend == AUTO:
        few = images is not None and images < WORTH_CONVERTING
        able = [name for name in _FASTEST.get(precision, ()) if all(map(importlib.util.find_spec, CONVERTED[name]))]
        backend = TORCH if few or device != "cpu" or not able else able[0]
    if backend == TORCH:
        return network
    if device != "cpu":
        raise ValueError(f"the backend {backend} computes on the CPU, but the network is on {device}: add --device cpu")
    if backend not in _FASTEST.get(precision, ()):
        can = " or ".join(one for one, backends in _FASTEST.items() if backend in backends)
        raise ValueError(f"the backend {backend} computes in {can}, not in {precision}")
    return _Converted(network, backend, precision)


class _Converted(nn.Module):
    """A network that is converted at its first batch, when its weights are loaded and its input is known."""

    def __init__(self, network: nn.Module, backend: str, precision: str) -> None:
        super().__init__()
        self.network = network
        self.backend = backend
        self.precision = precision
        self._converted: list[nn.Module] = []  # not a submodule: it has no weights of its own

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the network's output."""
        if not self._converted:
            self._converted.append(on_backend(self.network, self.backend, x, precision=self.precision))
            logger.info("computed by %s in %s", self.backend, self.precision)
        output: torch.Tensor = self._converted[0](x)
        return output
