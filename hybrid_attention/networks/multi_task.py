"""What networks that segment and classify share: their output, their heads, and wrappers for other tools."""

# No `from __future__ import annotations` here: TorchScript cannot read a NamedTuple whose annotations are strings.

from typing import Any, NamedTuple

import torch
from monai.networks.layers import Conv, Pool
from torch import nn


class MultiTaskOutput(NamedTuple):
    """Logits of each head.

    Attributes:
        mask: (batch, regions, *spatial), the background first.
        coarse_mask: the same shape, before refinement; None where nothing is refined.
        class_logits: (batch, classes); None for a network without class head.
    """

    mask: torch.Tensor
    coarse_mask: torch.Tensor | None
    class_logits: torch.Tensor | None


def lesion_logit(output: MultiTaskOutput) -> torch.Tensor:
    """Return the logit of "not background" from the logits of the regions.

    Its sigmoid is the probability of all regions but the first under their softmax: with two regions the logit is
    `mask[:, 1] - mask[:, 0]`, (batch, 1, *spatial). Evaluation, prediction and Grad-CAM use this single logit.
    """
    return output.mask[:, 1:].logsumexp(dim=1, keepdim=True) - output.mask[:, :1]


def region_head(spatial_dims: int, in_channels: int, num_regions: int) -> nn.Module:
    """Build the 1x1 convolution that predicts the logits of the regions, the background included."""
    if num_regions < 2:
        raise ValueError(f"num_regions must be at least 2 (background and lesion), got {num_regions}")
    return Conv[Conv.CONV, spatial_dims](in_channels, num_regions, kernel_size=1)


def class_head(spatial_dims: int, in_channels: int, num_classes: int | None) -> nn.Module:
    """Build the head that predicts the logits of the classes, or for None one that returns None."""
    if num_classes is None:
        return NoClassifier()
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, or None for no class head, got {num_classes}")
    return PooledClassifier(spatial_dims, in_channels, num_classes)


class PooledClassifier(nn.Module):
    """Classify by a two-layer perceptron on mean and maximum of each channel.

    The hidden layer has C units: `2 C² + C + C classes + classes` trainable parameters. The maximum is used because
    group norm makes the means nearly constant: from them alone the classes are hardly learned in a short training.

    Shape:
        - input: (batch, in_channels, *spatial), any size
        - output: (batch, num_classes), logits
    """

    def __init__(self, spatial_dims: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.mean = Pool[Pool.ADAPTIVEAVG, spatial_dims](1)
        self.maximum = Pool[Pool.ADAPTIVEMAX, spatial_dims](1)
        self.mlp = nn.Sequential(
            nn.Linear(2 * in_channels, in_channels), nn.ReLU(inplace=True), nn.Linear(in_channels, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of the classes."""
        pooled = torch.cat([self.mean(x), self.maximum(x)], dim=1)  # (b, c, *spatial) -> (b, 2c, 1..)
        return self.mlp(pooled.flatten(1))  # (b, 2c) -> (b, classes)


class NoClassifier(nn.Module):
    """Return None, in place of a class head."""

    def forward(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return None."""
        return None


class AsMultiTask(nn.Module):
    """Return the mask of a network for masks only as a `MultiTaskOutput`, so that multi-task recipes can train it.

    The network returns the logits of the regions, the background first.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        """Return the logits of the mask."""
        return MultiTaskOutput(mask=self.network(x), coarse_mask=None, class_logits=None)


class LesionLogit(nn.Module):
    """Return only the lesion logit of a multi-task network, as a network for masks does; see `lesion_logit`.

    The output is (batch, 1, *spatial). The `gradcam_layer` of the network, if it has one, becomes that of this module.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        layer = getattr(network, "gradcam_layer", None)
        if layer is not None:
            self.gradcam_layer = f"network.{layer}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the lesion logit."""
        return lesion_logit(self.network(x))


class MaskAndClasses(nn.Module):
    """Return the lesion logit and the class logits as channels of one tensor, for tools that expect one output.

    `SplitMaskAndClassesd` separates them. A network without a class head returns only the lesion logit. The state dict
    is that of the network, so weights fit both.

    Shape:
        - input: as the network
        - output: (batch, 1 + classes, *spatial), logits: the lesion, then each class, the same at every pixel
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_state_dict_post_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        output: MultiTaskOutput = self.network(x)
        lesion, classes = lesion_logit(output), output.class_logits
        if classes is None:
            return lesion
        for _ in range(lesion.dim() - 2):
            classes = classes.unsqueeze(-1)  # (B, C) -> (B, C, 1, 1[, 1])
        planes, _ = torch.broadcast_tensors(classes, lesion)  # (B, C, *spatial)
        return torch.cat([lesion, planes], dim=1)


def _without_prefix(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Rename `network.NAME` to `NAME` in a state dict of `MaskAndClasses`."""
    inner = f"{prefix}network."
    for name in [name for name in state if name.startswith(prefix)]:  # in their order
        state[prefix + name.removeprefix(inner)] = state.pop(name)


def _with_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Undo `_without_prefix` before a state dict is loaded."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}network.{name.removeprefix(prefix)}"] = state.pop(name)
