"""Inference backends: PyTorch, or ONNX Runtime and OpenVINO with a copy of the network that is kept on disk."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import tempfile
from pathlib import Path

import hybrid_attention
import torch
from hybrid_attention.data.writing import prepare_output_folder
from hybrid_attention.deploy.export import export_onnx, state_digest
from hybrid_attention.deploy.onnx_networks import ExportedNetwork, has_bf16, require
from hybrid_attention.engines.inferers import choose_precision
from torch import nn

TORCH, AUTO = "torch", "auto"
# the package that each needs besides those of the export, and what it computes in; the fastest first
# (docs/deployment.md has the times)
CONVERTED = {"onnx": ("onnxruntime", ("fp32",)), "openvino": ("openvino", ("fp32", "bf16"))}
CHOICES = (AUTO, TORCH, *CONVERTED)
# difference between a kept copy and the network, as a share of the largest logit
_TOLERANCES = {"fp32": 1e-3, "bf16": 0.1}
# as many images pay for the seconds that it takes to convert and load
WORTH_CONVERTING = 30
CACHE_VARIABLE = "HYBRID_ATTENTION_CACHE"

logger = logging.getLogger(__name__)


def with_backend(backend: str, network: nn.Module, precision: str = "auto", images: int | None = None) -> nn.Module:
    """Return a module that computes what a network does, on a backend.

    Args:
        backend: "torch" for the network itself; "onnx" (ONNX Runtime) or "openvino" for a copy on the CPU, converted at
            the first batch from the weights that the network has then; "auto" for the fastest: the network itself on a
            GPU and for fewer than 30 images, else ONNX Runtime in fp32 and OpenVINO in bf16, as far as installed.
        network: the network, on its device.
        precision: see `PrecisionInferer`; "auto" is fp32 with the backend "onnx".
        images: number of images; None for many.

    Raises:
        ValueError: there is no such backend, or it has no such precision or device.
    """
    if backend not in CHOICES:
        raise ValueError(f"backend must be one of {', '.join(CHOICES)}, got {backend!r}")
    device = next(network.parameters()).device.type
    if precision == AUTO:
        precision = "fp32" if backend == "onnx" else choose_precision(precision, device)
    if backend == AUTO:
        few = images is not None and images < WORTH_CONVERTING
        able = [] if few or device != "cpu" else [name for name in CONVERTED if _can(name, precision)]
        backend = able[0] if able else TORCH
    if backend == TORCH:
        return network
    if device != "cpu":
        raise ValueError(
            f"the backend {backend} computes on the CPU, but the network is on {device}: move it to the CPU"
        )
    if precision not in CONVERTED[backend][1]:
        raise ValueError(f"the backend {backend} computes in {' or '.join(CONVERTED[backend][1])}, not in {precision}")
    return _Converted(network, backend, precision)


def convert(network: nn.Module, backend: str, example: torch.Tensor, precision: str = "fp32") -> nn.Module:
    """Return a copy of a network, in evaluation mode, on ONNX Runtime or OpenVINO.

    The first time the network is exported (3 s for HAN) to `cache_path`; afterwards the file is loaded (0.5 s) and
    compared with the network on the example. A file that is damaged or computes something else is written again; if
    the folder can't be used, a warning is logged.

    Args:
        network: network with its weights, one tensor as input and one as output.
        backend: "onnx" or "openvino".
        example: a batch, (batch, channels, *spatial).
        precision: see `ExportedNetwork`.
    """
    require(CONVERTED[backend][0])

    def load(path: Path) -> nn.Module:
        return ExportedNetwork(path, backend, precision=precision).eval()

    path = cache_path(network)
    if path.is_file():
        try:
            copied = load(path)
            if _agree(copied, network, example, _TOLERANCES[precision]):
                return copied
            fault = f"{path} computes something else than the network"
        except ValueError as error:
            fault = str(error)
        logger.warning("%s: converting again", fault)
    try:
        prepare_output_folder(path.parent)
        export_onnx(network, path, example)
    except OSError as error:
        logger.warning(
            "converted networks can't be kept (%s): set %s to a folder that can be written", error, CACHE_VARIABLE
        )
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            return load(export_onnx(network, Path(folder) / path.name, example).path)
    return load(path)


def cache_path(network: nn.Module) -> Path:
    """Return the file of a converted network, named after its modules, weights and the versions.

    It is in the folder of the environment variable HYBRID_ATTENTION_CACHE, else in that of the user's cache.
    """
    parts = [hybrid_attention.__version__, torch.__version__, repr(network), state_digest(network)]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    folder = os.environ.get(CACHE_VARIABLE) or os.path.join(home, "hybrid_attention")
    return Path(folder) / f"{type(network).__name__}_{digest}.onnx"


def _can(backend: str, precision: str) -> bool:
    """Return whether a backend computes in a precision, is installed, and the processor supports it."""
    package, precisions = CONVERTED[backend]
    installed = all(map(importlib.util.find_spec, (package, "onnx", "onnxscript")))
    return precision in precisions and installed and (precision != "bf16" or has_bf16())


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
            with torch.autocast(x.device.type, enabled=False):  # the copy has a precision of its own
                self._converted.append(convert(self.network, self.backend, x, precision=self.precision))
            logger.info("computed by %s in %s", self.backend, self.precision)
        output: torch.Tensor = self._converted[0](x)
        return output


def _agree(copied: nn.Module, network: nn.Module, example: torch.Tensor, tolerance: float) -> bool:
    """Compare on one batch, since modules may leave settings out of their `repr`, which names the file."""
    with torch.no_grad():
        expected, found = network.eval()(example), copied(example)
    if found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= tolerance * max(1.0, expected.abs().max().item()))
