"""What computes a network at inference: PyTorch, or a copy on another runtime.

A copy is converted once, kept on disk, and loaded from there afterwards.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from hybrid_attention.data.files import prepare_output_folder
from hybrid_attention.deploy.export import export_onnx
from hybrid_attention.deploy.fingerprint import network_digest
from hybrid_attention.deploy.onnx_runtime import OnnxRuntimeNetwork
from hybrid_attention.deploy.openvino import OpenVINONetwork, has_bf16
from hybrid_attention.deploy.optional import require
from hybrid_attention.engines.inferer import choose_precision
from torch import nn

# each with the packages that it needs, its own first
CONVERTED = {"openvino": ("openvino", "onnx", "onnxscript"), "onnx": ("onnxruntime", "onnx", "onnxscript")}
# how far a kept copy may be from the network, as a share of the largest logit
_TOLERANCES = {"fp32": 1e-3, "bf16": 0.1}
TORCH = "torch"
BACKENDS = (TORCH, *CONVERTED)
AUTO = "auto"
CHOICES = (AUTO, *BACKENDS)
# which backends compute in a precision, the fastest first (docs/deployment.md has the times)
_FASTEST = {"fp32": ("onnx", "openvino"), "bf16": ("openvino",)}
# as many images pay for the seconds that it takes to convert and load
WORTH_CONVERTING = 30
CACHE_VARIABLE = "HYBRID_ATTENTION_CACHE"

logger = logging.getLogger(__name__)


def run_on(backend: str, network: nn.Module, precision: str = "auto", images: int | None = None) -> nn.Module:
    """Return a module that computes what a network does, on a backend.

    Args:
        backend: "torch" for the network itself; "onnx" (ONNX Runtime) or "openvino" for a copy on the CPU that is
            converted at the first batch, from the weights that the network has then (`on_backend`); "auto" for what is
            fastest: the network itself on a GPU and for fewer than 30 images, else ONNX Runtime in fp32 and OpenVINO in
            bf16 (where the processor has it), or the other one if it can and is alone installed, or the network itself.
        network: the module; its device counts.
        precision: auto, fp32, bf16 or fp16, as `PrecisionInferer` has it; auto is fp32 with the backend "onnx".
        images: how many there will be; None for many.

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
        able = [] if few or device != "cpu" else [name for name in _FASTEST.get(precision, ()) if _can(name, precision)]
        backend = able[0] if able else TORCH
    if backend == TORCH:
        return network
    if device != "cpu":
        raise ValueError(f"the backend {backend} computes on the CPU, but the network is on {device}: add --device cpu")
    if backend not in _FASTEST.get(precision, ()):
        can = " or ".join(one for one, backends in _FASTEST.items() if backend in backends)
        raise ValueError(f"the backend {backend} computes in {can}, not in {precision}")
    return _Converted(network, backend, precision)


def on_backend(
    network: nn.Module,
    backend: str,
    example: torch.Tensor,
    cache: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    precision: str = "fp32",
) -> nn.Module:
    """Return a module that computes a network on a backend.

    The first time the network is exported (3 s for HAN) and the file kept in `cache`, under a digest of weights,
    settings and versions; afterwards it is loaded from there (0.5 s). Both runtimes share one file. Several processes
    may do so at once. Where the folder can't be used, or its file is damaged, that is said and the network is
    converted anew.

    Args:
        network: with the weights that shall be used; one tensor in, one tensor out.
        backend: "torch" for the network itself, "onnx" (ONNX Runtime) or "openvino".
        example: a batch as the network takes it, (batch, channels, *spatial).
        cache: folder of converted networks; None for `default_cache()`.
        threads: how many work on one image; None for as many as torch uses.
        precision: of OpenVINO; see `OpenVINONetwork`.

    Returns:
        The module, in evaluation mode; a float32 tensor on the CPU in and out unless the backend is "torch".

    Raises:
        ValueError: no such backend or precision, or the network can't be exported.
        ImportError: a package of the extra `export` is missing.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == TORCH:
        return network.eval()
    require(CONVERTED[backend][0])
    path = kept_copy(network, cache)
    if path.is_file():
        try:
            kept = _load(path, backend, threads, precision).eval()
        except ValueError as error:
            if not _is_damage(path):
                raise
            logger.warning("%s; converting anew", error)
        else:
            if _gives_the_same(kept, network, example, _TOLERANCES[precision]):
                return kept
            logger.warning("%s computes something else than the network; converting anew", path)
    try:
        prepare_output_folder(path.parent)
        export_onnx(network, path, example)
    except OSError as error:
        logger.warning(
            "converted networks can't be kept in %s (%s): this one is converted for this run alone; set %s to another "
            "folder",
            path.parent,
            error.strerror or error,
            CACHE_VARIABLE,
        )
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / path.name
            export_onnx(network, path, example)
            return _load(path, backend, threads, precision).eval()
    return _load(path, backend, threads, precision).eval()


def kept_copy(network: nn.Module, cache: str | os.PathLike[str] | None = None) -> Path:
    """Return where the converted network is kept, or would be.

    Args:
        network: with its weights.
        cache: folder of converted networks; None for `default_cache()`.

    Returns:
        The file, which may not be there yet.
    """
    parts = [network_digest(network), *(_version(name) for name in ("onnx", "onnxscript"))]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return Path(default_cache() if cache is None else cache) / f"{type(network).__name__}_{digest}.onnx"


def default_cache() -> Path:
    """Return the folder of converted networks.

    Returns:
        The environment variable HYBRID_ATTENTION_CACHE, else `hybrid_attention` in the user's cache folder.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    return Path(home) / "hybrid_attention"


def _can(backend: str, precision: str) -> bool:
    """Tell whether a backend is installed, and the processor computes in a precision."""
    return all(map(importlib.util.find_spec, CONVERTED[backend])) and (precision != "bf16" or has_bf16())


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
                self._converted.append(on_backend(self.network, self.backend, x, precision=self.precision))
            logger.info("computed by %s in %s", self.backend, self.precision)
        output: torch.Tensor = self._converted[0](x)
        return output


def _load(path: Path, backend: str, threads: int | None, precision: str) -> nn.Module:
    if backend == "openvino":
        return OpenVINONetwork(path, threads, precision)
    return OnnxRuntimeNetwork(path, threads)


def _gives_the_same(kept: nn.Module, network: nn.Module, example: torch.Tensor, tolerance: float) -> bool:
    """Compare on one batch: what the file's name is made from may miss something that counts."""
    with torch.no_grad():
        expected, found = network.eval()(example), kept(example)
    if found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= tolerance * max(1.0, expected.abs().max().item()))


def _is_damage(path: Path) -> bool:
    """Return whether a file is no sound ONNX model."""
    onnx = require("onnx")
    try:
        onnx.checker.check_model(onnx.load(str(path)))
    except Exception:  # protobuf's and ONNX's own kinds
        return True
    return False


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} none"
