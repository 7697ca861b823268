"""An exported network run by ONNX Runtime, in the place of the network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hybrid_attention.deploy.exported_network import exported_output, networks_input
from hybrid_attention.deploy.optional import require
from torch import nn


class OnnxRuntimeNetwork(nn.Module):
    """Compute an exported network on the CPU by ONNX Runtime.

    Args:
        path: file that `export_onnx` or `quantize` wrote.
        threads: how many work on one image; None for as many as torch uses.

    Shape:
        - input: (batch, channels, *spatial), float32, on the CPU
        - output: as the network's, float32

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no ONNX model, or not one with `image` in and `pred` out; or an input doesn't fit.
        ImportError: onnxruntime is missing.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        super().__init__()
        runtime = require("onnxruntime")
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no exported network at {self.path}")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = runtime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # a class of its own for each kind of damage
            raise ValueError(f"{self.path} is no readable ONNX model: damaged, or another kind of file") from error
        self.channels = networks_input(
            self.path,
            {one.name: one.shape for one in self._session.get_inputs()},
            [one.name for one in self._session.get_outputs()],
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the network's output."""

        def run(batch: np.ndarray) -> np.ndarray:
            found: np.ndarray = self._session.run(None, {"image": batch})[0]
            return found

        return exported_output(run, x, self.channels, self.path)
