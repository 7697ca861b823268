"""Exported networks as modules that ONNX Runtime or OpenVINO computes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hybrid_attention.data.names import how_to_install
from monai.utils import convert_to_dst_type
from torch import nn

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}  # of OpenVINO, and its hint
# names of inputs and outputs, and the function that computes a batch, whose result may be in memory of the runtime
Opened = tuple[list[str], list[str], Callable[[np.ndarray], Any]]


class ExportedNetwork(nn.Module):
    """An exported network on the CPU.

    Args:
        path: file written by `export_onnx` or `quantize`.
        runtime: "onnx" for ONNX Runtime, or "openvino".
        threads: threads per image; None for as many as torch uses.
        precision: of OpenVINO: "fp32", or "bf16", which is twice as fast on processors that support it. Quantized
            layers are computed in int8 in both.

    Shape:
        - input: (batch, channels, *spatial), float32, on the CPU
        - output: as that of the network, float32, with the metadata of the input, if any

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an ONNX model with input `image` and output `pred`, an input does not fit, or the
            processor lacks the precision.
    """

    def __init__(
        self, path: str | os.PathLike[str], runtime: str = "onnx", threads: int | None = None, precision: str = "fp32"
    ) -> None:
        super().__init__()
        self.path = Path(path)
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if precision == "bf16" and not has_bf16():
            raise ValueError("this processor does not compute in bf16: use precision fp32")
        if not self.path.is_file():
            raise FileNotFoundError(f"no exported network at {self.path}")
        open_file = {"onnx": _open_onnxruntime, "openvino": _open_openvino}[runtime]
        try:
            inputs, outputs, self._compute = open_file(
                str(self.path), torch.get_num_threads() if threads is None else threads, precision
            )
        except ImportError:
            raise
        except Exception as error:  # each runtime has its own types
            raise ValueError(f"{self.path} is not a readable ONNX model") from error
        if (inputs, outputs) != (["image"], ["pred"]):
            found = f"{', '.join(inputs)} and {', '.join(outputs)}"
            raise ValueError(f"{self.path} must have the input image and the output pred, got {found}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the network's output."""
        if x.device.type != "cpu" or x.dtype != torch.float32:
            raise ValueError(f"an exported network takes float32 on the CPU, got {x.dtype} on {x.device}")
        try:
            output = self._compute(np.ascontiguousarray(x.detach().numpy()))
        except Exception as error:
            fault = f"{self.path.name} can't be computed for a batch of {tuple(x.shape)}: {first_line(error)}"
            raise ValueError(fault) from error
        return convert_to_dst_type(torch.from_numpy(np.array(output, np.float32)), x, dtype=torch.float32)[0]


def _open_onnxruntime(path: str, threads: int, precision: str) -> Opened:
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = ([one.name for one in ends] for ends in (session.get_inputs(), session.get_outputs()))
    return inputs, outputs, lambda batch: session.run(None, {"image": batch})[0]


def _open_openvino(path: str, threads: int, precision: str) -> Opened:
    settings = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # two processes would be tied to the same cores
    }
    core = require("openvino").Core()
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    request = compiled.create_infer_request()
    outputs = ["pred" if "pred" in one.names else one.any_name for one in compiled.outputs]  # may have several

    def compute(batch: np.ndarray) -> Any:
        request.infer({"image": batch}, share_inputs=True)
        return request.get_output_tensor().data

    return [one.any_name for one in compiled.inputs], outputs, compute


def has_bf16() -> bool:
    """Return whether the processor computes in bf16, as OpenVINO sees it."""
    return "BF16" in require("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def require(module: str) -> Any:
    """Import a module of a package of the extra `export`, or say how to install it."""
    package, given = module.partition(".")[0], os.environ.get("CI")
    os.environ["CI"] = "true"  # keeps OpenVINO from sending telemetry on import
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != package:
            package = f"{package} ({error.name})"
        raise ImportError(f"exported networks need the package {package}: {how_to_install('export')}") from None
    finally:
        del os.environ["CI"]
        os.environ.update({} if given is None else {"CI": given})


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
