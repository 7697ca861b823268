"""Convolution unit with group norm."""

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
        ValueError: When `out_channels` is no multiple of `groups`.
    """
    if out_channels < 1 or out_channels % groups:
        raise ValueError(f"channels must be a multiple of {groups}, the groups of the group norm, got {out_channels}.")
    norm = ("group", {"num_groups": groups})
    return Convolution(
        spatial_dims, in_channels, out_channels, kernel_size=kernel_size, adn_ordering="NA", norm=norm, act="relu"
    )
