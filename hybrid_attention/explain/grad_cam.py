"""Grad-CAM of masks and classes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from hybrid_attention.networks.blocks.convolutions import interpolation_mode
from monai.utils import convert_to_tensor
from torch import nn

Output = str | Callable[[Any], torch.Tensor] | None
_LISTED_LAYERS = 30


class EmptyMaskError(ValueError):
    """The mask of an image is empty, so there is no region to explain."""


def grad_cam(
    network: nn.Module,
    image: torch.Tensor,
    layer: str | None = None,
    *,
    mask: torch.Tensor | None = None,
    class_index: int | Sequence[int] | None = None,
    output: Output = None,
) -> torch.Tensor:
    """Compute Grad-CAM heat maps of a predicted mask or class.

    For the feature maps A of a layer and the score s of an image, the heat map is `relu(sum_k a_k A_k)`, where a_k is
    the mean of ds/dA_k over all positions. It is interpolated linearly to the image size and divided by its maximum.
    For mask logits, the score is the mean logit inside the predicted or a given mask; for class logits, it is the logit
    of the predicted or a given class.

    The network runs in evaluation mode and without autocast, and is left unchanged. Its parameters may be frozen. The
    function also works inside `torch.no_grad()`.

    A heat map shows which positions increase the score, to first order and at the resolution of the layer. It does not
    prove that the network would decide otherwise without them.

    Reference:
        R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
        ICCV 2017, arXiv:1610.02391, eq. 1 and 2. For masks: K. Vinogradova, A. Dibrov, G. Myers, "Towards Interpretable
        Semantic Segmentation via Gradient-weighted Class Activation Mapping", AAAI 2020, arXiv:2002.11434.

    Args:
        network: network that outputs logits; not scripted.
        image: input batch of the network, (batch, channels, *spatial).
        layer: name of a layer in `network.named_modules()`; None for `network.gradcam_layer`.
        mask: region to explain, above 0.5, in the shape of the network's output; None for the predicted mask.
        class_index: class to explain, one for all images or one per image; None for the predicted class.
        output: part of the network's output to explain: name of a field, a function that returns the logits, or None
            if the output is a tensor.

    Shape:
        (batch, 1, *spatial), float32, with maximum 1 per image, or 0 everywhere if no feature increases the score.

    Raises:
        EmptyMaskError: (a ValueError) the mask of an image is empty.
        ValueError: the layer gives no feature map, or has no influence on the score.

    Deviation:
        In arXiv:2002.11434 the logits of the region are summed; here the mean is taken, which gives the same map after
        division by the maximum.
    """
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError("Grad-CAM needs an eager network, got a scripted one")
    layer = layer_name(network, layer)
    batch = convert_to_tensor(image, track_meta=False).detach().to(next(network.parameters(), image).dtype)
    maps, gradient = _maps_and_gradient(
        network, layer, batch, lambda result: _scores(_logits(result, output), mask, class_index)
    )
    weights = gradient.flatten(2).mean(2).view(*maps.shape[:2], *[1] * (maps.dim() - 2))
    heat = torch.relu((weights * maps).sum(dim=1, keepdim=True))
    mode = interpolation_mode(batch.dim() - 2)
    heat = F.interpolate(heat, batch.shape[2:], mode=mode, align_corners=False).float()
    peak = heat.amax(dim=tuple(range(1, heat.dim())), keepdim=True)
    normalized: torch.Tensor = heat / torch.where(peak > 0, peak, 1)
    return normalized


def layer_name(network: nn.Module, layer: str | None = None) -> str:
    """Return the name of the layer that Grad-CAM uses: `layer`, or `network.gradcam_layer`."""
    containers = (nn.ModuleList, nn.ModuleDict)  # these never run themselves
    names = [name for name, part in network.named_modules() if name and not isinstance(part, containers)]
    kind = type(network).__name__
    if layer is None:
        layer = getattr(network, "gradcam_layer", None)
        if layer is None:
            raise ValueError(f"{kind} has no gradcam_layer; set layer to one of: {_listed(names)}")
    if layer not in names:
        raise ValueError(f"{kind} has no layer {layer!r}; it has: {_listed(names, layer)}")
    return layer


def _listed(names: list[str], wanted: str = "") -> str:
    """List the names most similar to `wanted`, then those of the upper two levels."""
    similar = difflib.get_close_matches(wanted, names, n=8, cutoff=0.4)
    upper = [name for name in names if name.count(".") <= 1 and name not in similar]
    shown = (similar + upper)[:_LISTED_LAYERS]
    return ", ".join(shown) + (f" … ({len(names)} in all)" if len(shown) < len(names) else "")


def _maps_and_gradient(
    network: nn.Module, layer: str, image: torch.Tensor, score: Callable[[Any], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the feature maps of a layer, and the gradients of a score per image.

    MONAI's `GradCAM` explains only class logits, leaves hooks, parameter gradients and training modes behind, and fails
    if an in-place operation follows the layer.
    """
    features: list[Any] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
        features.append(output)
        return output.clone() if isinstance(output, torch.Tensor) else output  # safe from in-place operations

    hook = network.get_submodule(layer).register_forward_hook(keep)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(image.device.type, enabled=False),
            evaluation_mode(network),
        ):
            result = network(image.clone().requires_grad_())  # gives gradients even if the parameters are frozen
            maps = _feature_map(features, f"layer {layer!r} ({type(network.get_submodule(layer)).__name__})")
            scores, gradient = score(result), None
            if maps.requires_grad and scores.requires_grad:
                (gradient,) = torch.autograd.grad(scores.sum(), maps, allow_unused=True)
    finally:
        hook.remove()
    if gradient is None:
        raise ValueError(f"the score does not depend on layer {layer!r}; choose one on the path to the output")
    return maps.detach(), gradient


def _feature_map(features: list[Any], layer: str) -> torch.Tensor:
    if len(features) != 1:
        raise ValueError(f"{layer} runs {len(features)} times in a forward pass; choose one that runs once")
    (maps,) = features
    if not isinstance(maps, torch.Tensor) or maps.dim() not in (4, 5) or maps[0, 0].numel() == 1:
        got = f"shape {tuple(maps.shape)}" if isinstance(maps, torch.Tensor) else f"a {type(maps).__name__}"
        raise ValueError(
            f"{layer} must output a feature map, (batch, channels, *spatial) with more than one position, got {got}"
        )
    return maps


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and restore the mode of each module afterwards."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _logits(result: Any, output: Output) -> torch.Tensor:
    if isinstance(output, str):
        fields = getattr(result, "_fields", ())
        if output not in fields:
            raise ValueError(f"the network's output has no field {output!r}; it has {', '.join(fields) or 'no fields'}")
        result = getattr(result, output)
    elif output is not None:
        result = output(result)
    if not isinstance(result, torch.Tensor):
        chosen = "" if output is None else f" for {output}"
        raise ValueError(f"the network returns a {type(result).__name__}{chosen}; choose the logits with output")
    return result


def _scores(logits: torch.Tensor, mask: torch.Tensor | None, class_index: int | Sequence[int] | None) -> torch.Tensor:
    """Return the score of each image, (batch,)."""
    shape = tuple(logits.shape)
    if logits.dim() == 2 and mask is None:
        index = logits.detach().argmax(dim=1) if class_index is None else torch.as_tensor(class_index)
        scores = logits.gather(1, index.to(logits.device).expand(len(logits))[:, None])[:, 0]
    elif logits.dim() in (4, 5) and shape[1] == 1 and class_index is None:
        scores = _mean_in_mask(logits, mask)
    else:
        given = f"class_index {class_index}" if class_index is not None else "a mask" if mask is not None else "neither"
        raise ValueError(
            "expected logits of one mask, (batch, 1, *spatial), with or without mask, or of classes, (batch, classes), "
            f"with or without class_index, got shape {shape} and {given}; choose the logits with output"
        )
    if not torch.isfinite(scores).all():
        raise ValueError(f"the scores to explain must be finite, got {scores.tolist()}")
    return scores


def _mean_in_mask(logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if mask is not None and mask.shape != logits.shape:
        raise ValueError(
            f"mask must have the shape of the network's output, {tuple(logits.shape)}, got {tuple(mask.shape)}"
        )
    region = logits.detach() > 0 if mask is None else mask.to(logits.device) > 0.5
    pixels = region.flatten(1).sum(dim=1)
    empty = [str(index) for index, count in enumerate(pixels.tolist()) if count == 0]
    if empty:
        raise EmptyMaskError(
            f"the {'predicted' if mask is None else 'given'} mask of image {', '.join(empty)} is empty"
        )
    return torch.where(region, logits, 0).flatten(1).sum(dim=1) / pixels
