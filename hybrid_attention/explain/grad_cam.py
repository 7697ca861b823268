"""Grad-CAM of the networks of this package, for masks and for classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from hybrid_attention.explain.layers import layer_name
from hybrid_attention.explain.scores import Output, choose_output, image_scores
from monai.utils import convert_to_tensor
from monai.visualize import GradCAM, ModelWithHooks
from torch import nn

logger = logging.getLogger(__name__)


def grad_cam(
    network: nn.Module,
    image: torch.Tensor,
    layer: str | None = None,
    *,
    mask: torch.Tensor | None = None,
    class_index: int | Sequence[int] | None = None,
    output: Output = None,
) -> torch.Tensor:
    """Return where a layer's features speak for what a network marks in an image, or for a class.

    With the layer's feature maps A and the score s of an image, the map is `relu(sum_k a_k A_k)`, where a_k is the
    mean of ds/dA_k over the positions. It is interpolated linearly to the image's size and divided by its maximum. The
    score is the mean logit inside the predicted or a given mask where the output is a map of logits, and the logit of
    the predicted or a given class where it is a row of logits.

    The network runs in evaluation mode, without autocast. Nothing in it changes: not the mode of any part, not the
    gradients of its parameters, which may be frozen; no hook stays. It works under `torch.no_grad()` too.

    A map tells which positions the score rises with, to first order and at the coarse size of the layer. It doesn't
    prove that the network would decide otherwise without them.

    Reference:
        R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
        ICCV 2017, arXiv:1610.02391, eq. 1 and 2. For masks: K. Vinogradova, A. Dibrov, G. Myers, "Towards Interpretable
        Semantic Segmentation via Gradient-weighted Class Activation Mapping", AAAI 2020, arXiv:2002.11434.

    Args:
        network: gives logits; eager, not scripted.
        image: batch as the network takes it.
        layer: name of a layer as in `network.named_modules()`; None for `network.gradcam_layer`.
        mask: the region to explain, above 0.5, in the shape of the network's output; None for the predicted one.
        class_index: the class to explain, one for all images or one for each; None for the predicted one.
        output: which part of the network's output is explained: name of a field, a function of the output that
            returns logits, or None where the output is a tensor.

    Shape:
        - image: (batch, channels, *spatial)
        - mask: (batch, 1, *spatial)
        - returned: (batch, 1, *spatial), float32, with maximum 1 for each image, or 0 everywhere where nothing in the
          layer speaks for the score (logged)

    Raises:
        NothingMarkedError: (a ValueError) the mask of an image is empty.
        ValueError: no such layer; the layer gives no feature map, or the score doesn't depend on it; the network is
            scripted; or `mask`, `class_index` and `output` don't fit the network.

    Deviation:
        The sum of the logits over the region in arXiv:2002.11434 is a mean here, which gives the same map, since it is
        divided by its maximum.
    """
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError("Grad-CAM needs the network as built in Python, got a scripted one")
    layer = layer_name(network, layer)
    model = _ScoredModel(network, layer, lambda result: image_scores(choose_output(result, output), mask, class_index))
    heat = GradCAM(model, target_layers=layer, postprocessing=_to_maximum_one)(_batch(network, image))
    flat = [index for index, map_ in enumerate(heat) if not map_.any()]
    if flat:
        logger.info("the Grad-CAM of image %s is 0 everywhere: nothing in %s speaks for it", flat, layer)
    return heat


class _ScoredModel(ModelWithHooks):
    """Feature maps of a layer and the gradients of a score for each image.

    MONAI's own form explains class logits only, and leaves hooks, gradients of the parameters and the training mode of
    frozen parts behind; it also fails where an in-place operation follows the layer.

    Args:
        network: what is explained.
        layer: name of the layer.
        score: gives the scores, (batch,), of the network's output.
    """

    def __init__(self, network: nn.Module, layer: str, score: Callable[[Any], torch.Tensor]) -> None:
        super().__init__(network, layer)  # registers no hook
        self.layer = layer
        self.scores = score

    def __call__(
        self, x: torch.Tensor, class_idx: None = None, retain_graph: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, tuple[torch.Tensor], tuple[torch.Tensor]]:
        """Return scores, feature maps and gradients, as `GradCAM.compute_map` takes them."""
        features: list[Any] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
            features.append(output)
            return output.clone() if isinstance(output, torch.Tensor) else output  # what follows may work in place

        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(x.device.type, enabled=False),
            _evaluation_mode(self.model),
        ):
            hook = self.get_layer(self.layer).register_forward_hook(keep)
            try:
                result = self.model(x.clone().requires_grad_())  # so that gradients flow where parameters are frozen
            finally:
                hook.remove()
            maps = self._feature_map(features)
            scores = self.scores(result)
            gradient = None
            if maps.requires_grad and scores.requires_grad:
                (gradient,) = torch.autograd.grad(scores.sum(), maps, retain_graph=retain_graph, allow_unused=True)
        if gradient is None:
            raise ValueError(f"the score does not depend on layer {self.layer!r}: choose one on the way to the output")
        return scores.detach(), (maps.detach(),), (gradient.contiguous(),)  # GradCAM takes a view of the gradient

    def _feature_map(self, features: list[Any]) -> torch.Tensor:
        kind = type(self.get_layer(self.layer)).__name__
        if len(features) != 1:
            raise ValueError(
                f"layer {self.layer!r} ({kind}) runs {len(features)} times in a forward pass; choose one that runs once"
            )
        (maps,) = features
        if not isinstance(maps, torch.Tensor) or maps.dim() not in (4, 5) or maps[0, 0].numel() == 1:
            got = f"shape {tuple(maps.shape)}" if isinstance(maps, torch.Tensor) else f"a {type(maps).__name__}"
            raise ValueError(
                f"layer {self.layer!r} ({kind}) must give one feature map, (batch, channels, *spatial) with more than "
                f"one position, got {got}"
            )
        return maps


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Switch to evaluation, and afterwards each part back to what it was: frozen parts are in evaluation anyway."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _batch(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Return the images as a plain tensor of the type of the weights."""
    weight = next(network.parameters(), image)
    return convert_to_tensor(image, track_meta=False).detach().to(weight.dtype)


def _to_maximum_one(heat: torch.Tensor) -> torch.Tensor:
    """Divide each map by its maximum, and leave a map of zeros as it is."""
    heat = heat.float()
    peak = heat.amax(dim=tuple(range(1, heat.dim())), keepdim=True)
    return heat / torch.where(peak > 0, peak, 1)
