"""Export a bundle as one ONNX file that takes an image of any size and gives mask and classes at that size."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import hybrid_attention
import numpy as np
import torch
import torch.nn.functional as F
from hybrid_attention.data.writing import atomic_path
from hybrid_attention.deploy.export import INPUT, OPSET, Exported, example_image, inference_form, to_onnx
from hybrid_attention.deploy.onnx_networks import require
from hybrid_attention.engines.bundles import bundle_folder, inference_parser, weights_of
from hybrid_attention.engines.weights import load_weights, weights_digest
from hybrid_attention.prediction.model import OUTPUTS
from hybrid_attention.transforms.probabilities import TemperatureScaling
from torch import nn

LUMA = (19595, 38470, 7471)  # ITU-R 601-2 in parts of 65536, as Pillow has it
_SETTINGS = ("class_names", "image_size", "temperature", "threshold", "normal_threshold", "flips")
# image sizes at which the file is compared with the model in torch
_SIZES = ((300, 200), (61, 75))
TOLERANCE = 1e-4


class WholeModel(nn.Module):
    """From the grey or colour values of an image to mask and classes, as a bundle's `inference.yaml` computes them.

    Args:
        network: returns the logits of the lesion and of each class for a batch of one image, as `MaskAndClasses`.
        channels: number of channels, in which the grey image is repeated.
        settings: class_names, image_size, temperature, threshold and normal_threshold, as in `postprocessing`.

    Shape:
        - input: uint8, (H, W, 3) or (H, W, 1)
        - output: probability of lesion, (H, W); mask, uint8, (H, W); class probabilities, (classes,), empty for a
          network without class head; expected Dice, ()
    """

    luma: torch.Tensor

    def __init__(self, network: nn.Module, channels: int, settings: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        self.side: int = settings["image_size"]
        self.threshold: float = settings["threshold"]
        self.scale = TemperatureScaling(settings["temperature"])
        self.normal_threshold: float | None = settings["normal_threshold"]
        self.normal = 0 if self.normal_threshold is None else list(settings["class_names"]).index("normal")
        self.register_buffer("luma", torch.tensor(LUMA, dtype=torch.float32))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs in the order of `OUTPUTS`."""
        # integers below 2^24, which float32 represents exactly; one channel is broadcast
        grey = ((image.float() * self.luma).sum(-1) + 32768).mul(2**-16).floor()
        least = grey.min()
        grey = (grey - least) / (grey.max() - least).clamp(min=1)  # a constant image gives 0
        rows, columns = (resize_matrix(size, self.side) for size in image.shape[:2])
        square = rows @ grey @ columns.T  # (side, H) (H, W) (W, side)
        output = self.network(square.expand(1, self.channels, -1, -1))
        classes = output[0, 1:, 0, 0].softmax(0)  # as `SplitMaskAndClassesd`
        probability = self.scale(output[:, :1].sigmoid())
        if self.normal_threshold is not None:
            probability = probability * (classes[self.normal] < self.normal_threshold)
        full = F.interpolate(probability, image.shape[:2], mode="bilinear", align_corners=False)[0, 0]  # (H, W)
        lesion = full >= self.threshold
        inside = (full * lesion).sum()
        expected = 2 * inside / (lesion.sum() + full.sum()).clamp(min=1)  # as `expected_dice`
        return full, lesion.to(torch.uint8), classes, expected


def resize_matrix(size: int, side: int) -> torch.Tensor:
    """Return the matrix that resizes one axis as MONAI's `Resize` with `anti_aliasing` does.

    MONAI blurs by a Gaussian whose standard deviation is half of (reduction - 1), cut off at four of them, and
    interpolates linearly; both are linear, so each output pixel is a weighted sum. ONNX has no such resizing for sizes
    that are not known in advance.

    Shape:
        - output: weights, (side, size)
    """
    pixels = torch.arange(size, dtype=torch.float32)
    factor = (pixels[-1] + 1) / side  # a tensor, which the exporter can follow
    sigma = (factor - 1) / 2
    scale = 0.70710678 / sigma.clamp(min=1e-3)  # no blur where the axis grows
    tail = (4 * sigma).clamp(min=0.5).add(0.5).floor()
    centre = ((torch.arange(side) + 0.5) * factor - 0.5).clamp(min=0)
    low = centre.floor()
    share = (centre - low)[:, None]

    def blurred(at: torch.Tensor) -> torch.Tensor:
        distance = pixels - at[:, None]
        weights = 0.5 * (torch.erf(scale * (distance + 0.5)) - torch.erf(scale * (distance - 0.5)))
        return weights * (distance.abs() <= tail)

    return (1 - share) * blurred(low) + share * blurred(torch.minimum(low + 1, pixels[-1]))


def whole_model(
    bundle: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> tuple[WholeModel, dict[str, str]]:
    """Build the whole model of a bundle, in evaluation mode, and the metadata of its file; see `export_whole`."""
    folder = bundle_folder(bundle)
    found = weights_of(folder, weights)
    parser = inference_parser(folder, ckpt_path=str(found))
    settings = {name: parser.get_parsed_content(name, default=None) for name in _SETTINGS}
    if settings["flips"] not in (None, [[]]):
        raise ValueError(f"a whole model has no flips, but {folder.name} has the flips {settings['flips']}")
    example = example_image(folder, found)
    if not torch.equal(example, example[:1].expand_as(example)):
        raise ValueError(f"a whole model takes only the grey image, but {folder.name} has further input channels")
    network = load_weights(parser.get_parsed_content("network_def"), found)
    model = WholeModel(inference_form(network), example.shape[0], settings).eval()
    facts = {
        "name": folder.name,
        "version": hybrid_attention.__version__,
        "weights_sha256": weights_digest(found),
        "intended_use": "research only; no medical device",
        **{name: json.dumps(settings[name]) for name in _SETTINGS[:-1]},
    }
    return model, facts


def export_whole(
    bundle: str | os.PathLike[str], path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> Exported:
    """Write a bundle as one ONNX file that takes images and gives masks and needs nothing but ONNX Runtime.

    Input: `image`, uint8, (height, width, channels) with 1 channel (grey) or 3 (red, green, blue), of any size.
    Outputs: `probability` of lesion, float32, and `mask`, uint8, both (height, width); `class_probability`, float32,
    (classes,); `expected_dice`, float32, (). The metadata contain name, version, digest of the weights, class names,
    image size, temperature, thresholds (numbers and lists as JSON) and intended use. Weights that float16 represents
    exactly are stored in it.

    Args:
        bundle: name or folder; see `bundle_folder`.
        path: the file, `.onnx`.
        weights: see `weights_of`.

    Returns:
        The file; the difference is that of the probabilities from those of the model in torch.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: another suffix, weights that do not fit, a file that computes something else, or an inference that
            the file can't contain: flips, or further input channels.
    """
    onnx = require("onnx")
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"a whole model is written as .onnx, got {path.name!r}")
    model, facts = whole_model(bundle, weights)
    with atomic_path(path) as temporary:
        proto = _exported(model, temporary)
        onnx.helper.set_model_props(proto, facts)
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, str(temporary))
        difference = max(_difference(model, temporary, size) for size in _SIZES)
        if not difference <= TOLERANCE:
            raise ValueError(f"the probabilities of the exported {facts['name']} differ by {difference:.2g}")
    return Exported(path, "torch.onnx, torch.export", difference)


def _exported(model: WholeModel, path: Path) -> Any:
    """Convert by torch and free the number of channels, which torch fixes."""
    onnx = require("onnx")
    optimizer = require("onnxscript.optimizer")
    to_onnx(
        model,
        path,
        torch.zeros(300, 200, 3, dtype=torch.uint8),
        OUTPUTS,
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},),
        external_data=False,
        verbose=False,
        optimize=False,  # would merge normalizations into convolutions, whose weights float16 can't represent
    )
    proto = onnx.load(str(path))
    optimizer.fold_constants(proto)
    optimizer.remove_unused_nodes(proto)
    graph = proto.graph
    axes = ("height", "width", "channels")
    for value in (graph.input[0], *graph.output[:2]):
        for dim, axis in zip(value.type.tensor_type.shape.dim, axes, strict=False):
            dim.dim_param = axis
    del graph.value_info[:]
    for traced in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del traced.metadata_props[:]  # where in the source each comes from
    _halve(proto)
    return proto


def _halve(proto: Any) -> None:
    """Store the float32 weights that float16 represents exactly as float16, each with a cast."""
    onnx = require("onnx")
    casts = []
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != "float32" or values.size < 16:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if (half == values).all():
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}_half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*casts, *nodes])


def _difference(model: WholeModel, path: Path, size: tuple[int, int]) -> float:
    ort = require("onnxruntime")
    image = torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (found,) = ort.InferenceSession(str(path)).run([OUTPUTS[0]], {INPUT: image.numpy()})
    with torch.no_grad():
        return float((model(image)[0] - torch.from_numpy(found)).abs().max())
