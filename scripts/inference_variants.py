"""The ways to compute a network that `benchmark_inference.py` compares."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from hybrid_attention.deploy.export import export_onnx, inference_form
from hybrid_attention.deploy.onnx_runtime import OnnxRuntimeNetwork
from hybrid_attention.deploy.openvino import OpenVINONetwork, has_bf16
from hybrid_attention.deploy.quantize import quantize
from hybrid_attention.engines import PrecisionInferer, to_memory_format
from torch import nn

Compute = Callable[[torch.Tensor], torch.Tensor]
EAGER = "eager"
VARIANTS = (
    EAGER,
    "channels_last",
    "bf16, channels_last",
    "torch.compile",
    "TorchScript, frozen",
    "ONNX Runtime",
    "ONNX Runtime, int8",
    "OpenVINO, fp32",
    "OpenVINO, bf16",
    "OpenVINO, int8",
)


class Variants:
    """Make the variants of one network; what several of them need is made once.

    Args:
        network: with its weights.
        example: one batch of the size that will be timed.
        calibration: images for int8, (channels, *spatial).
        folder: where exported files may lie.
        threads: of the runtimes.
    """

    def __init__(
        self, network: nn.Module, example: torch.Tensor, calibration: Sequence[torch.Tensor], folder: Path, threads: int
    ) -> None:
        self.network = network.eval()
        self.example = example
        self.calibration = calibration
        self.folder = folder
        self.threads = threads

    def make(self, name: str) -> Compute:
        """Return what computes a variant.

        Args:
            name: one of `VARIANTS`.

        Raises:
            ValueError: there is no such variant, or the processor can't.
        """
        kind, _, detail = name.partition(", ")
        if name not in VARIANTS:
            raise ValueError(f"a variant must be one of {', '.join(VARIANTS)}, got {name!r}")
        if "bf16" in name and not has_bf16():
            raise ValueError("this processor does not compute in bf16")
        if kind == "OpenVINO":
            path = self._quantized() if detail == "int8" else self._exported()
            return OpenVINONetwork(path, self.threads, "bf16" if detail == "bf16" else "fp32")
        if kind == "ONNX Runtime":
            return OnnxRuntimeNetwork(self._quantized() if detail == "int8" else self._exported(), self.threads)
        if name == "torch.compile":
            # of one fixed size, which is what compiles to the fastest code
            return torch.compile(copy.deepcopy(self.network), dynamic=False)
        if kind == "TorchScript":
            return self._frozen()
        return self._eager(name)

    def _eager(self, name: str) -> Compute:
        channels_last = "channels_last" in name
        network = to_memory_format(copy.deepcopy(self.network), channels_last)
        inferer = PrecisionInferer("bf16" if "bf16" in name else "fp32", channels_last)
        return lambda batch: inferer(batch, network)

    def _frozen(self) -> Compute:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(inference_form(self.network), self.example, check_trace=False)
            frozen: Compute = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
        return frozen

    def _exported(self) -> Path:
        path = self.folder / "network.onnx"
        if not path.is_file():
            export_onnx(self.network, path, self.example)
        return path

    def _quantized(self) -> Path:
        path = self.folder / "network_int8.onnx"
        return path if path.is_file() else quantize(self._exported(), path, self.calibration)
