"""U-Net without a head, with plain or residual stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import GROUPS, conv_norm_act, interpolation_mode, resize_like
from monai.networks.blocks import ResidualUnit
from monai.networks.layers import Pool
from torch import nn


def plain_stage(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Build two 3x3 convolutions, each with batch norm and ReLU.

    In two dimensions it has `9 (Cin + Cout) Cout + 6 Cout` trainable parameters.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels Cin.
        out_channels: number of output channels Cout.
    """
    return nn.Sequential(
        conv_norm_act(spatial_dims, in_channels, out_channels), conv_norm_act(spatial_dims, out_channels, out_channels)
    )


def residual_stage(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Build two 3x3 convolutions, each with group norm and ReLU, with a residual connection.

    If the widths differ, the residual connection is a 1x1 convolution with `(Cin + 1) Cout` parameters.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels Cin.
        out_channels: number of output channels Cout.

    Raises:
        ValueError: When `out_channels` is not a multiple of 8.
    """
    if out_channels < 1 or out_channels % GROUPS:
        raise ValueError(f"channels must be multiples of {GROUPS}, the groups of the group norm, got {out_channels}")
    norm = ("group", {"num_groups": GROUPS})
    return ResidualUnit(spatial_dims, in_channels, out_channels, adn_ordering="NA", norm=norm, act="relu")


class UNetBackbone(nn.Module):
    """Encoder stages with max-pooling, a bridge, and decoder stages with upsampling and concatenated skips.

    Trainable parameters in two dimensions with 2 input channels and widths of 64, 128, 256 (bridge 512):

    | part    | `plain_stage` | `residual_stage` |
    |---------|---------------|------------------|
    | encoder |     1,146,624 |        1,188,160 |
    | bridge  |     3,542,016 |        3,673,600 |
    | decoder |     3,099,264 |        3,357,760 |
    | all     |     7,787,904 |        8,219,520 |

    Reference:
        O. Ronneberger, P. Fischer, T. Brox, "U-Net", MICCAI 2015, doi:10.1007/978-3-319-24574-4_28; with residual
        stages: Z. Zhang, Q. Liu, Y. Wang, "Road Extraction by Deep Residual U-Net", IEEE GRSL 2018, arXiv:1711.10684,
        which has three stages, a bridge of twice the width, and three stages.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        channels: width of each encoder stage, from fine to coarse.
        stage: builds a stage: `plain_stage` or `residual_stage`.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side at least `stride`
        - output: (batch, channels[0], *spatial) from the decoder and (batch, 2 channels[-1], *deepest) from the
          bridge, whose sides are those of the input divided by `stride`, rounded down

    Raises:
        ValueError: When `spatial_dims` or `channels` is invalid.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, channels: Sequence[int], stage: Callable[[int, int, int], nn.Module]
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError(f"channels needs at least one stage, got {tuple(channels)}")
        self.mode = interpolation_mode(spatial_dims)
        self.stride: int = 2 ** len(channels)
        self.bridge_channels = 2 * channels[-1]
        widths = [*channels, self.bridge_channels]
        self.pool = Pool[Pool.MAX, spatial_dims](kernel_size=2)
        self.encoder = nn.ModuleList()
        for before, width in zip([in_channels, *channels], channels, strict=False):
            self.encoder.append(stage(spatial_dims, before, width))
        self.bridge = stage(spatial_dims, channels[-1], self.bridge_channels)
        self.decoder = nn.ModuleList()
        for i in reversed(range(len(channels))):
            self.decoder.append(stage(spatial_dims, widths[i + 1] + channels[i], channels[i]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features of the decoder and of the bridge."""
        skips: list[torch.Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = self.pool(x)
        bridge = self.bridge(x)
        y = bridge
        for i, stage in enumerate(self.decoder):
            skip = skips[-1 - i]
            y = stage(torch.cat([resize_like(y, skip, self.mode), skip], dim=1))
        return y, bridge
