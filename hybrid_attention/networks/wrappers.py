"""What stands around a network or changes one: deep supervision, any image size, group norm in place of batch norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hybrid_attention.networks.blocks.convolutions import GROUPS, check_input, crop_like, pad_to_multiple
from monai.networks.layers import Conv
from torch import nn


class DeepSupervision(nn.Module):
    """Put a 1x1 convolution on inner feature maps and return their logits beside the network's own.

    It stands around the network in training only; validation, weights and inference are the network's. In a
    configuration it is the trainer's network, with `monai.losses.DeepSupervisionLoss` around the loss.

    Reference:
        C.-Y. Lee, S. Xie, P. Gallagher, Z. Zhang, Z. Tu, "Deeply-Supervised Nets", AISTATS 2015, arXiv:1409.5185.

    Args:
        network: returns one tensor, (batch, out_channels, *spatial).
        layers: channels of the feature maps by the name of the module that returns them, the finest first.
        out_channels: of the network.
        spatial_dims: number of spatial dimensions, 2 or 3.

    Shape:
        - input: what the network takes
        - output: list of (batch, out_channels, *spatial): the network's own logits, then one for each layer at its size

    Raises:
        AttributeError: When a layer is unknown.
        ValueError: When there is no layer.
    """

    def __init__(
        self, network: nn.Module, layers: Mapping[str, int], out_channels: int = 1, spatial_dims: int = 2
    ) -> None:
        super().__init__()
        if not layers:
            raise ValueError("layers must name one feature map or more.")
        self.network = network
        self.heads = nn.ModuleList(
            [Conv[Conv.CONV, spatial_dims](channels, out_channels, kernel_size=1) for channels in layers.values()]
        )
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)  # features are of any size; logits start at 0
        self._features: dict[str, torch.Tensor] = {}
        self._layers = tuple(layers)
        for name in layers:
            network.get_submodule(name).register_forward_hook(self._keeper(name))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the network's logits and those of the layers."""
        outputs = [self.network(x)]
        outputs += [head(self._features[name]) for name, head in zip(self._layers, self.heads, strict=True)]
        self._features.clear()
        return outputs

    def _keeper(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            if self.training:
                self._features[name] = output

        return keep


class PadToStride(nn.Module):
    """Repeat the border until every side is a multiple of the network's stride, and crop its output again.

    Args:
        network: returns one tensor, or a list whose last tensor is the finest.
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        stride: how much coarser the network's deepest features are than the image.
        gradcam_layer: name of the network's layer that Grad-CAM explains unless told otherwise.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side longer than `stride`
        - output: (batch, out_channels, *spatial), logits

    Raises:
        ValueError: When the input doesn't fit.
    """

    def __init__(
        self, network: nn.Module, spatial_dims: int, in_channels: int, stride: int, gradcam_layer: str
    ) -> None:
        super().__init__()
        self.network = network
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.stride = stride
        self.gradcam_layer = f"network.{gradcam_layer}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits at the input's size."""
        check_input(x, self.spatial_dims, self.in_channels, self.stride)
        if not torch.jit.is_tracing() and min(x.shape[2:]) == self.stride:
            raise ValueError(
                f"spatial size {tuple(x.shape[2:])} is too small: the deepest features are {self.stride} times coarser "
                f"and need more than one position to be normalised, so every side needs more than {self.stride}."
            )
        output = self.network(pad_to_multiple(x, self.stride))
        return crop_like(output[-1] if isinstance(output, list) else output, x)


def without(network: nn.Module, *unused: str) -> nn.Module:
    """Take parts out of a network that never act on its output, so that they are not counted.

    Args:
        network: changed in place.
        unused: names of the parts; each becomes `nn.Identity()`.

    Returns:
        The network.
    """
    for name in unused:
        network.set_submodule(name, nn.Identity())
    return network


def with_group_norm(network: nn.Module, groups: int = GROUPS) -> nn.Module:
    """Replace every batch norm of a network by a group norm, which does not depend on the batch.

    MONAI's `norm` argument of `FlexibleUNet` reaches the decoder alone; this reaches all of it. Scales and shifts start
    again, as do the networks here: weights that were trained with batch norm are of no use without its statistics.

    Reference:
        Y. Wu, K. He, "Group Normalization", ECCV 2018, arXiv:1803.08494.

    Args:
        network: is changed in place.
        groups: number of groups, which divides the channels of every batch norm.

    Returns:
        The network.

    Raises:
        ValueError: When the network has no batch norm, or channels of one are not divisible.
    """
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    }
    if not norms:
        raise ValueError(f"{type(network).__name__} has no batch norm to replace.")
    for name, norm in norms.items():
        if norm.num_features % groups:
            raise ValueError(f"{name} has {norm.num_features} channels, which {groups} groups do not divide.")
    for name, norm in norms.items():
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.GroupNorm(groups, norm.num_features, norm.eps, norm.affine))
    return network
