"""Quantize exported networks: convolutions in 8-bit integers, calibrated on images."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hybrid_attention.data.writing import atomic_path
from hybrid_attention.deploy.onnx_networks import ExportedNetwork, require

FEWEST_IMAGES = 8
PERCENTILE = 99.99  # of a tensor's values, which its 8 bits cover: single bright pixels would cost precision


def quantize(source: str | os.PathLike[str], path: str | os.PathLike[str], images: Iterable[torch.Tensor]) -> Path:
    """Write a network's convolutions in int8, for ONNX Runtime and OpenVINO, and return the file.

    Weights are scaled per output channel, activations per tensor, by the ranges on the calibration images. All else
    stays in float32, and so do the convolutions around a matrix product, two before it and one after: with those of
    HAN's attention in int8 OpenVINO 2026.4 loses 0.015 Dice, although ONNX Runtime computes the same file without loss.
    Measure scores again: a network that was not trained for int8 may lose some.

    Args:
        source: file written by `export_onnx`.
        path: the file, written by rename.
        images: inputs of the network, (channels, *spatial) or a batch, float32, all of one size, from the training or
            validation part, never from the test part. About 30 are enough.
    """
    network = ExportedNetwork(source, threads=1)
    batches = [_batch(image) for image in images]
    if len(batches) < FEWEST_IMAGES:
        raise ValueError(f"calibration needs at least {FEWEST_IMAGES} images, got {len(batches)}")
    network(torch.from_numpy(batches[0]))  # raises if the images do not fit
    onnx, quantization = require("onnx"), require("onnxruntime.quantization")
    preparation = require("onnxruntime.quantization.shape_inference")
    with tempfile.TemporaryDirectory() as folder, atomic_path(path) as temporary:
        prepared = Path(folder) / "prepared.onnx"
        with contextlib.redirect_stdout(io.StringIO()):  # a line per image
            preparation.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(temporary),
                _reader(batches),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=_around_products(onnx.load(str(prepared)).graph.node),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.Percentile,
                # one image after the other: the features of all of them would fill the memory
                extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": 1},
            )
        facts = {one.key: one.value for one in onnx.load(str(source)).metadata_props}
        facts["quantized"] = f"int8 convolutions, calibrated on {len(batches)} images, percentile {PERCENTILE:g}"
        model = onnx.load(str(temporary))
        onnx.helper.set_model_props(model, facts)
        onnx.save(model, str(temporary))
    return Path(path)


def _around_products(nodes: Sequence[Any]) -> list[str]:
    """Return the names of the convolutions around matrix products: two before, one after, on each path."""
    kinds = {node.name: node.op_type for node in nodes}
    maker = {output: node.name for node in nodes for output in node.output}
    before = {node.name: [maker[name] for name in node.input if name in maker] for node in nodes}
    after: dict[str, list[str]] = {name: [] for name in kinds}
    for user, made in before.items():
        for name in made:
            after[name].append(user)

    def nearest(start: str, neighbours: Mapping[str, list[str]]) -> set[str]:
        waiting, seen = list(neighbours[start]), set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += [] if kinds[name] == "Conv" else neighbours[name]
        return {name for name in seen if kinds[name] == "Conv"}

    found: set[str] = set()
    for product in (name for name, kind in kinds.items() if kind == "MatMul"):
        embeddings = nearest(product, before)
        found |= embeddings | nearest(product, after)
        for embedding in embeddings:
            found |= nearest(embedding, before)
    return sorted(found)


def _reader(batches: list[np.ndarray]) -> Any:
    """Return the batches as ONNX Runtime's calibration reads them, all or some at a time."""
    quantization = require("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.rest = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.rest, None)
            return None if batch is None else {"image": batch}

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.rest = iter(batches[start_index:end_index])

    return Reader()


def _batch(image: torch.Tensor) -> np.ndarray:
    array = np.asarray(image, dtype=np.float32)
    return array if array.ndim >= 4 else array[None]
