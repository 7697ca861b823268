"""Export networks as ONNX or TorchScript, which need none of this code, and compare them with the original."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import hybrid_attention
import torch
import torch.nn.functional as F
from hybrid_attention.data import image_datalist
from hybrid_attention.data.writing import atomic_path
from hybrid_attention.deploy.onnx_networks import ExportedNetwork, first_line, require
from hybrid_attention.deploy.quantize import quantize
from hybrid_attention.engines.bundles import bundle_folder, bundle_network, inference_parser, weights_of
from hybrid_attention.networks.blocks.sfeb import WindowMean
from hybrid_attention.phantoms import write_phantom_dataset
from monai.networks.layers import Pool
from torch import nn

ONNX, TORCHSCRIPT = ".onnx", (".ts", ".pt")
CALIBRATION_IMAGES = 64  # enough to know the ranges of the features
INPUT, OUTPUT = "image", "pred"
OPSET = 20
AXES = {0: "batch", 2: "height", 3: "width", 4: "depth"}
METADATA = "hybrid_attention.json"
# by how much a logit may differ, in parts of the largest one
TOLERANCE = 1e-3
# a second size to compare at, which no stride divides: so much is added to the example's sides
_MORE = (5, 11, 3)


class Exported(NamedTuple):
    """An exported file."""

    path: Path
    method: str  # the converter
    difference: float  # the largest of its output from the network's, over two batches of different shapes


def export_onnx(
    network: nn.Module, path: str | os.PathLike[str], example: torch.Tensor, name: str | None = None
) -> Exported:
    """Write a network as ONNX, with weights, for batches and images of any size that the network takes.

    The input is `image`, the output `pred`; the metadata contain name, digest of the weights and versions. The file is
    checked by ONNX and compared with the network, also at another batch and image size.

    Of torch's two exporters the older one is tried first: the results are the same, but it takes 3 s for HAN where
    that by `torch.export` takes 43 s.

    Args:
        network: network with one tensor as input and one as output.
        path: the file, written by rename.
        example: a batch, (batch, channels, *spatial).
        name: name of the model in the metadata; None for the network's class.

    Raises:
        ValueError: the network can't be exported, or the file computes something else.
        ImportError: a package of the extra `export` is not installed.
    """
    onnx = require("onnx")
    form = inference_form(network)

    def write(method: str, temporary: Path) -> nn.Module:
        _EXPORTERS[method](form, temporary, example)
        model = onnx.load(str(temporary))
        onnx.checker.check_model(model, full_check=True)
        onnx.helper.set_model_props(model, model_facts(network, name, method, example))
        onnx.save(model, str(temporary))
        return ExportedNetwork(temporary)

    return _first_that_works("ONNX", network, Path(path), example, _EXPORTERS, write)


def export_torchscript(
    network: nn.Module, path: str | os.PathLike[str], example: torch.Tensor, name: str | None = None
) -> Exported:
    """Write a network as TorchScript, with weights: scripted if possible, else traced.

    Name, digest of the weights and versions are in the file as `extra/hybrid_attention.json`. It is compared with the
    network as in `export_onnx`, whose arguments it has.
    """
    form = copy.deepcopy(network).cpu().eval()

    def write(method: str, temporary: Path) -> nn.Module:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of deprecation
            module = _COMPILERS[method](form, example)
            facts = json.dumps(model_facts(network, name, method, example))
            torch.jit.save(module, str(temporary), _extra_files={METADATA: facts.encode()})
            loaded: nn.Module = torch.jit.load(str(temporary))
        return loaded

    return _first_that_works("TorchScript", network, Path(path), example, _COMPILERS, write)


def export_bundle(
    bundle: str | os.PathLike[str],
    path: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    calibration: str | os.PathLike[str] | None = None,
) -> Exported:
    """Write a bundle's network for inference as ONNX or TorchScript, for batches and images of any size.

    Args:
        bundle: name or folder; see `bundle_folder`.
        path: the file, `.onnx`, `.ts` or `.pt`.
        weights: see `weights_of`.
        calibration: an image or a folder of images, of which at most 64 are used, to write the convolutions in int8
            (ONNX only); never images that the network is tested on. None for fp32.

    Returns:
        The file; the difference is that before quantization.

    Raises:
        FileNotFoundError: there are no weights, or no such images.
        ValueError: another suffix, int8 as TorchScript, weights that do not fit, or a network that can't be exported.
    """
    path = Path(path)
    if path.suffix != ONNX and path.suffix not in TORCHSCRIPT:
        raise ValueError(f"the file must end with {ONNX} or {' or '.join(TORCHSCRIPT)}, got {path.name!r}")
    if calibration is not None and path.suffix != ONNX:
        raise ValueError(f"int8 can only be written as {ONNX}, got {path.name!r}")
    folder = bundle_folder(bundle)
    found = weights_of(folder, weights)
    network, shape = bundle_network(folder, found), example_image(folder, found).shape
    example = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    if path.suffix != ONNX:
        return export_torchscript(network, path, example, folder.name)
    if calibration is None:
        return export_onnx(network, path, example, folder.name)
    images = list(_images(folder, found, calibration))
    with tempfile.TemporaryDirectory() as temporary:
        exported = export_onnx(network, Path(temporary) / path.name, example, folder.name)
        return exported._replace(path=quantize(exported.path, path, images))


def inference_form(network: nn.Module) -> nn.Module:
    """Return a copy of a network for the CPU, in evaluation mode, with operators that other programs support.

    Local means (`WindowMean`) become average poolings, which in two dimensions take maps of any size.
    """
    form = copy.deepcopy(network).cpu().eval()
    for place, module in list(form.named_modules()):
        if isinstance(module, WindowMean) and len(module.border) == 4:
            pool = Pool[Pool.AVG, 2](kernel_size=3, stride=1, padding=1, count_include_pad=False)
            form.set_submodule(place, pool)
    return form


def model_facts(network: nn.Module, name: str | None, method: str, example: torch.Tensor) -> dict[str, str]:
    """Return the metadata of an exported file."""
    return {
        "name": name or type(network).__name__,
        "weights_sha256": state_digest(network),
        "hybrid_attention": hybrid_attention.__version__,
        "torch": torch.__version__,
        "method": method,
        "input": f"{INPUT}: (batch, {example.shape[1]}, {', '.join(AXES[axis] for axis in range(2, example.ndim))})",
        "output": f"{OUTPUT}: logits",
        "use": "research only; no medical device",
    }


def state_digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights and buffers, which does not depend on device or memory format."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _trace_to_onnx(form: nn.Module, path: Path, example: torch.Tensor) -> None:
    axes = {axis: name for axis, name in AXES.items() if axis < example.ndim}
    to_onnx(form, path, example, dynamo=False, opset_version=OPSET, dynamic_axes={INPUT: axes, OUTPUT: axes})


def _program_to_onnx(form: nn.Module, path: Path, example: torch.Tensor) -> None:
    if len(example) == 1:
        example = torch.cat([example, example])  # torch.export takes a batch of one for a constant
    dynamic = {axis: torch.export.Dim.DYNAMIC for axis in AXES if axis < example.ndim}
    to_onnx(form, path, example, dynamo=True, dynamic_shapes=(dynamic,), external_data=False, verbose=False)


def to_onnx(
    form: nn.Module, path: Path, example: torch.Tensor, outputs: Sequence[str] = (OUTPUT,), **options: Any
) -> None:
    """Export by torch, whose other arguments follow, without its warnings."""
    require("onnxscript")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of deprecation, and of constants that stay as they are
        torch.onnx.export(form, (example,), str(path), input_names=[INPUT], output_names=list(outputs), **options)


_EXPORTERS: dict[str, Callable[[nn.Module, Path, torch.Tensor], None]] = {
    "torch.onnx, traced": _trace_to_onnx,
    "torch.onnx, torch.export": _program_to_onnx,
}
_COMPILERS: dict[str, Callable[[nn.Module, torch.Tensor], Any]] = {
    "script": lambda form, example: torch.jit.script(form),
    "trace": lambda form, example: torch.jit.trace(form, example, check_trace=False),
}


def _first_that_works(
    kind: str,
    network: nn.Module,
    path: Path,
    example: torch.Tensor,
    methods: Iterable[str],
    write: Callable[[str, Path], nn.Module],
) -> Exported:
    """Write the file by the first method whose result, which `write` returns, computes what the network does."""
    failures: list[str] = []
    original = copy.deepcopy(network).cpu().eval()
    for method in methods:
        try:
            with atomic_path(path) as temporary:
                difference = _compare(original, write(method, temporary), example)
        except (OSError, ImportError):
            raise
        except Exception as error:  # exporters and compilers raise all kinds
            failures.append(f"{method}: {first_line(error)}")
        else:
            return Exported(path, method, difference)
    raise ValueError(f"{type(network).__name__} can't be exported to {kind} ({'; '.join(failures)})")


def _compare(network: nn.Module, other: nn.Module, example: torch.Tensor) -> float:
    """Return the largest difference over two batches of different shapes; raise a ValueError if it is large."""
    example = example.detach().cpu()
    largest = 0.0
    sides = [amount for more in reversed(_MORE[: example.ndim - 2]) for amount in (0, more)]
    larger = F.pad(example[:1], sides)
    for batch in (example, torch.cat([larger, 1 - larger, larger**2])):
        with torch.no_grad(), torch.jit.optimized_execution(False):
            expected, found = network(batch), other(batch)
        if found.shape != expected.shape:
            raise ValueError(f"it gives {tuple(found.shape)} for {tuple(batch.shape)}, not {tuple(expected.shape)}")
        difference = (found - expected).abs().max().item()
        if not difference <= TOLERANCE * max(1.0, expected.abs().max().item()):
            raise ValueError(f"its output for {tuple(batch.shape)} differs by {difference:.2g}")
        largest = max(largest, difference)
    return largest


def example_image(folder: Path, weights: Path) -> torch.Tensor:
    """Return a phantom after the preprocessing of a bundle with these weights, (channels, *spatial)."""
    with tempfile.TemporaryDirectory() as temporary:
        phantoms = write_phantom_dataset(Path(temporary) / "phantoms", 1, 0, 0, size=(64, 64))
        (image,) = _images(folder, weights, phantoms)
    return image


def _images(folder: Path, weights: Path, source: str | os.PathLike[str]) -> Iterator[torch.Tensor]:
    prepare = inference_parser(folder, ckpt_path=str(weights)).get_parsed_content("preprocessing")
    cases = image_datalist(source)
    for case in islice(cases, 0, None, math.ceil(len(cases) / CALIBRATION_IMAGES)):
        yield torch.as_tensor(prepare(case)["image"])
