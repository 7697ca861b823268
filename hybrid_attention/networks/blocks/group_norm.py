"""Group norm: a convolution unit with it, and any network with it instead of batch norm."""

from __future__ import annotations

from monai.networks.blocks import Convolution
from torch import nn

GROUPS = 8


def conv_group_norm(
    spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3, groups: int = GROUPS
) -> nn.Module:
    """Build convolution (with bias), then group norm, then ReLU.

    In two dimensions a 3 wide unit has `9 Cin Cout + 3 Cout` trainable parameters.

    Reference:
        Y. Wu, K. He, "Group Normalization", ECCV 2018, arXiv:1803.08494.

    Args:
        spatial_dims: number of spatial dimensions, 1 to 3.
        in_channels: number of input channels Cin.
        out_channels: number of output channels Cout.
        kernel_size: width of the convolution.
        groups: number of groups whose channels are normalised together.

    Raises:
        ValueError: When `out_channels` is not a multiple of `groups`.
    """
    if out_channels < 1 or out_channels % groups:
        raise ValueError(f"channels must be a multiple of {groups}, the groups of the group norm, got {out_channels}.")
    norm = ("group", {"num_groups": groups})
    return Convolution(
        spatial_dims, in_channels, out_channels, kernel_size=kernel_size, adn_ordering="NA", norm=norm, act="relu"
    )


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
