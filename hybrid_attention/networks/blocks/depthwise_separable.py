"""Depthwise separable convolution with ReLU6."""

from __future__ import annotations

from collections import OrderedDict

from monai.networks.blocks import Convolution
from torch import nn


def depthwise_separable(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Build a 3 wide convolution of each channel by itself, then a 1 wide one across the channels, each with ReLU6.

    depthwise (no bias) → batch norm → ReLU6 → pointwise (no bias) → batch norm → ReLU6. In two dimensions it has
    `9 Cin + 2 Cin + Cin Cout + 2 Cout` trainable parameters.

    Reference:
        A. G. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
        arXiv:1704.04861, figure 3; with ReLU6 as in S. Anari et al., doi:10.1038/s41598-024-84504-y, "Depthwise
        separable convolutions".

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels Cin.
        out_channels: number of output channels Cout.
    """
    return nn.Sequential(
        OrderedDict(
            depthwise=Convolution(
                spatial_dims, in_channels, in_channels, groups=in_channels, bias=False, norm="batch", act="relu6"
            ),
            pointwise=Convolution(
                spatial_dims, in_channels, out_channels, kernel_size=1, bias=False, norm="batch", act="relu6"
            ),
        )
    )
