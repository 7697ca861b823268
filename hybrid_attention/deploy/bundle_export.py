"""A bundle's trained network as a file for other programs."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from hybrid_attention.data import image_datalist
from hybrid_attention.deploy.bundles import bundle_folder, bundle_network, inference_parser, weights_of
from hybrid_attention.deploy.export import Exported, export_onnx, export_torchscript
from hybrid_attention.deploy.quantize import quantize
from hybrid_attention.phantoms import write_phantom_dataset

ONNX = ".onnx"
TORCHSCRIPT = (".ts", ".pt")
# as many images are enough to know the ranges of the features
CALIBRATION_IMAGES = 64


def export_bundle(
    bundle: str | os.PathLike[str],
    path: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    calibration: str | os.PathLike[str] | None = None,
) -> Exported:
    """Write a bundle's network for inference as ONNX or TorchScript, for batches and images of any size.

    Args:
        bundle: name or folder; see `bundle_folder`.
        path: the file; its ending, `.onnx`, `.ts` or `.pt`, says which.
        weights: the weight file, its first part, or the folder of a run; None for the bundle's own.
        calibration: an image or a folder of images like those that will come, of which 64 at most are looked at, to
            write the convolutions in int8 (ONNX only); never those that the network is tested on. None for fp32.

    Returns:
        What was written. The difference is that before quantization.

    Raises:
        FileNotFoundError: there are no weights, or no such images.
        ValueError: another ending, int8 as TorchScript, unfit weights, or a network that can't be exported.
        ImportError: a package of the extra `export` is missing.
    """
    path = Path(path)
    if path.suffix != ONNX and path.suffix not in TORCHSCRIPT:
        raise ValueError(f"the file must end with {ONNX} or {' or '.join(TORCHSCRIPT)}, got {path.name!r}")
    if calibration is not None and path.suffix != ONNX:
        raise ValueError(f"int8 is written as {ONNX} alone, got {path.name!r}")
    folder = bundle_folder(bundle)
    found = weights_of(folder, weights)
    network, example = bundle_network(folder, found), _example(folder, found)
    if path.suffix != ONNX:
        return export_torchscript(network, path, example, folder.name)
    if calibration is None:
        return export_onnx(network, path, example, folder.name)
    images = list(_images(folder, found, calibration))
    with tempfile.TemporaryDirectory() as temporary:
        exported = export_onnx(network, Path(temporary) / path.name, example, folder.name)
        return exported._replace(path=quantize(exported.path, path, images))


def _example(folder: Path, weights: Path) -> torch.Tensor:
    """Return a batch of noise of the channels and the size that the network is used with."""
    with tempfile.TemporaryDirectory() as temporary:
        phantoms = write_phantom_dataset(Path(temporary) / "phantoms", 1, 0, 0, size=(64, 64))
        (image,) = _images(folder, weights, phantoms)
    return torch.rand(1, *image.shape, generator=torch.Generator().manual_seed(0))


def _images(folder: Path, weights: Path, source: str | os.PathLike[str]) -> Iterator[torch.Tensor]:
    prepare = inference_parser(folder, ckpt_path=str(weights)).get_parsed_content("preprocessing")
    cases = image_datalist(source)
    for case in islice(cases, 0, None, math.ceil(len(cases) / CALIBRATION_IMAGES)):
        yield torch.as_tensor(prepare(case)["image"])
