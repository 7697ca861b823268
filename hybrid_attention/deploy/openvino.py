"""An exported network run by OpenVINO, in the place of the network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hybrid_attention.deploy.exported_network import exported_output, networks_input
from hybrid_attention.deploy.optional import require
from torch import nn

PRECISIONS = ("fp32", "bf16")
_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVINONetwork(nn.Module):
    """Compute an exported network on the CPU by OpenVINO.

    Args:
        path: file that `export_onnx` or `quantize` wrote.
        threads: how many work on one image; None for as many as torch uses.
        precision: of the arithmetic: "fp32"; or "bf16", twice as fast on processors that have it. What is quantized in
            the file is computed in int8 in any case.

    Shape:
        - input: (batch, channels, *spatial), float32, on the CPU
        - output: as the network's, float32

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no ONNX model, or not one with `image` in and `pred` out; an unknown precision, or one
            that the processor lacks; or an input doesn't fit.
        ImportError: openvino is missing.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None, precision: str = "fp32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        openvino = require("openvino")
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no exported network at {self.path}")
        core = openvino.Core()
        if precision == "bf16" and not has_bf16():
            raise ValueError("this processor does not compute in bf16: use precision fp32")
        self.precision = precision
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads() if threads is None else threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # two processes would be tied to the same cores
        }
        try:
            model = core.read_model(str(self.path))
            compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:  # RuntimeError of many lines
            raise ValueError(f"{self.path} is no readable ONNX model: damaged, or another kind of file") from error
        self.channels = networks_input(
            self.path,
            {
                one.any_name: [side.get_length() if side.is_static else None for side in one.partial_shape]
                for one in compiled.inputs
            },
            [one.any_name for one in compiled.outputs],
        )
        self._request: Any = compiled.create_infer_request()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the network's output."""

        def run(batch: np.ndarray) -> np.ndarray:
            self._request.infer({"image": batch}, share_inputs=True)
            found: np.ndarray = self._request.get_output_tensor().data
            return found  # of the request: copied before the next call

        return exported_output(run, x, self.channels, self.path)


def has_bf16() -> bool:
    """Return whether the processor computes in bf16, as OpenVINO sees it.

    Raises:
        ImportError: openvino is missing.
    """
    return "BF16" in require("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
