"""Convolutional block attention module (CBAM): channel gate, then spatial gate."""

from __future__ import annotations

import torch
from monai.networks.layers import Conv
from torch import nn


class ChannelGate(nn.Module):
    """Scale each channel by `sigmoid(MLP(mean(x)) + MLP(max(x)))`, with one MLP for both.

    See `CBAM`, eq. 2 of its paper.
    """

    def __init__(self, spatial_dims: int, channels: int, reduction: int = 8) -> None:
        super().__init__()
        if channels % reduction:
            raise ValueError(f"channels must be a multiple of reduction={reduction}, got {channels}")
        conv = Conv[Conv.CONV, spatial_dims]
        self.axes = list(range(2, 2 + spatial_dims))
        self.mlp = nn.Sequential(
            conv(channels, channels // reduction, kernel_size=1, bias=False),
            nn.ReLU(inplace=True),
            conv(channels // reduction, channels, kernel_size=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated features."""
        return x * self.coefficients(x)

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gate of each channel, (b, c, 1..), from 0 to 1."""
        mean = x.mean(dim=self.axes, keepdim=True)  # (b, c, *spatial) -> (b, c, 1..)
        peak = x.amax(dim=self.axes, keepdim=True)  # (b, c, 1..)
        return torch.sigmoid(self.mlp(mean) + self.mlp(peak))


class SpatialGate(nn.Module):
    """Scale each position by `sigmoid(conv7(concat(mean, max)))`, both taken over the channels.

    See `CBAM`, eq. 3 of its paper.
    """

    def __init__(self, spatial_dims: int) -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](2, 1, kernel_size=7, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated features."""
        return x * self.coefficients(x)

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gate of each position, (b, 1, *spatial), from 0 to 1."""
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)  # (b, 2, *spatial)
        return torch.sigmoid(self.conv(summary))


class CBAM(nn.Module):
    """Apply a channel gate, then a spatial gate.

    In two dimensions it has `2 C² / reduction + 98` trainable parameters.

    Reference:
        S. Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv:1807.06521, eq. 1.

    Args:
        reduction: the hidden layer of the channel gate has C / reduction units.

    Shape:
        - input and output: (batch, channels, *spatial), any size

    Deviation:
        Reduction 8 and the absence of biases and of a batch norm follow from the parameter counts of S. Anari et al.
        (doi:10.1038/s41598-024-84504-y, table 1); Woo et al. reduce by 16.
    """

    def __init__(self, spatial_dims: int, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.channel_gate = ChannelGate(spatial_dims, channels, reduction)
        self.spatial_gate = SpatialGate(spatial_dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated features."""
        return self.spatial_gate(self.channel_gate(x))
