"""Wrappers and changes for any network: deep supervision, any image size, group norm instead of batch norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hybrid_attention.networks.blocks.convolutions import GROUPS, check_input, crop_like, pad_to_multiple
from monai.networks.layers import Conv
from torch import nn


class DeepSupervision(nn.Module):
    """Add a 1x1 convolution on inner feature maps, and return their logits after the network's own.

    Use it for training only; validation, saved weights and inference use the network alone. In a config it is the
    trainer's network, with `monai.losses.DeepSupervisionLoss` around the loss.

    Reference:
        C.-Y. Lee, S. Xie, P. Gallagher, Z. Zhang, Z. Tu, "Deeply-Supervised Nets", AISTATS 2015, arXiv:1409.5185.

    Args:
        network: returns one tensor, (batch, out_channels, *spatial).
        layers: channels of the feature maps by the name of the module that returns them, from fine to coarse.
        out_channels: of the network.
        spatial_dims: number of spatial dimensions, 2 or 3.

    Shape:
        - input: as the network
        - output: list of (batch, out_channels, *spatial): the network's own logits, then one for each layer at its size

    Raises:
        AttributeError: unknown layer.
        ValueError: `layers` is empty.
    """

    def __init__(
        self, network: nn.Module, layers: Mapping[str, int], out_channels: int = 1, spatial_dims: int = 2
    ) -> None:
        super().__init__()
        if not layers:
            raise ValueError("layers must name one feature map or more")
        self.network = network
        self.heads = nn.ModuleList(
            [Conv[Conv.CONV, spatial_dims](channels, out_channels, kernel_size=1) for channels in layers.values()]
        )
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)  # logits start at 0, whatever the features
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
    """Pad the input by repeating its border until every side is a multiple of the stride, and crop the output.

    Args:
        network: returns one tensor, or a list of tensors of the same size, one for each of its heads.
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        stride: downsampling factor of the network's deepest features.
        gradcam_layer: the network's default layer for Grad-CAM.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side longer than `stride`
        - output: (batch, out_channels, *spatial), logits, of several heads their mean; in training a network with
          several heads gives the list of their logits, the last one first, for `monai.losses.DeepSupervisionLoss`

    Raises:
        ValueError: the input is invalid.
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

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return the logits at the input's size."""
        check_input(x, self.spatial_dims, self.in_channels, self.stride)
        if not torch.jit.is_tracing() and min(x.shape[2:]) == self.stride:
            raise ValueError(
                f"spatial size {tuple(x.shape[2:])} is too small: the deepest features are {self.stride} times coarser "
                f"and can't be normalised over a single position, so every side must be longer than {self.stride}"
            )
        output = self.network(pad_to_multiple(x, self.stride))
        if isinstance(output, list):
            if self.training and len(output) > 1:
                return [crop_like(logits, x) for logits in reversed(output)]
            output = torch.stack(output).mean(dim=0)
        return crop_like(output, x)


def without(network: nn.Module, *unused: str) -> nn.Module:
    """Remove parts of a network that don't affect its output, so that their parameters are not counted.

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
    """Replace every batch norm of a network with group norm, which does not depend on the batch.

    Unlike the `norm` argument of MONAI's `FlexibleUNet`, which applies to the decoder only. Scales and shifts are
    initialised: weights trained with batch norm are of no use without its statistics.

    Reference:
        Y. Wu, K. He, "Group Normalization", ECCV 2018, arXiv:1803.08494.

    Args:
        network: changed in place.
        groups: number of groups; must divide the channels of every batch norm.

    Returns:
        The network.

    Raises:
        ValueError: the network has no batch norm, or its channels are not divisible by `groups`.
    """
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    }
    if not norms:
        raise ValueError(f"{type(network).__name__} has no batch norm to replace")
    for name, norm in norms.items():
        if norm.num_features % groups:
            raise ValueError(f"{name} has {norm.num_features} channels, which {groups} groups do not divide")
    for name, norm in norms.items():
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.GroupNorm(groups, norm.num_features, norm.eps, norm.affine))
    return network
