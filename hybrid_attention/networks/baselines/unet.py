"""The U-Nets that the hybrid attention network and MTL-OCA are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import (
    check_input,
    conv_relu,
    init_he_normal,
    interpolation_mode,
    plain_stage,
    resize_like,
)
from hybrid_attention.networks.mtl_oca import UNetBackbone
from hybrid_attention.networks.multi_task import MultiTaskOutput, class_head, region_head
from monai.networks.layers import Conv, Pool
from torch import nn


class UNetDecoderStage(nn.Module):
    """Upsample to the skip's size, convolve, concatenate the skip, and convolve twice.

    Shape:
        - input: (batch, in_channels, *coarse) and (batch, out_channels, *spatial)
        - output: (batch, out_channels, *spatial)
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mode = interpolation_mode(spatial_dims)
        self.up = conv_relu(spatial_dims, in_channels, out_channels)
        self.convs = double_conv(spatial_dims, 2 * out_channels, out_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return the decoded features at the skip's size."""
        x = self.up(resize_like(x, skip, self.mode))
        return self.convs(torch.cat([skip, x], dim=1))


def double_conv(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Build two 3x3 convolutions, each with ReLU."""
    return nn.Sequential(
        conv_relu(spatial_dims, in_channels, out_channels), conv_relu(spatial_dims, out_channels, out_channels)
    )


class PlainUNet(nn.Module):
    """Segment with a U-Net with padded convolutions, interpolation instead of transposed convolutions, and no norm.

    With the default arguments it has 34,513,345 trainable parameters, the U-Net row of HAN's table 2; MONAI's own
    U-Nets have other blocks and counts.

    Reference:
        O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        MICCAI 2015, doi:10.1007/978-3-319-24574-4_28. Widths and count: arXiv:2506.16592, table 2.

    Args:
        channels: width of each scale, from fine to coarse.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side at least `2 ** (len(channels) - 1)`
        - output: (batch, out_channels, *spatial), logits

    Deviation:
        Padded convolutions keep the size, unlike the original's; upsampling followed by a 3x3 convolution fits the
        count of table 2. Weights are initialised as in the original U-Net (section 3): without normalisation, a network
        with Keras's default (Glorot) hardly learns, which would be an unfair comparison.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
    ) -> None:
        super().__init__()
        interpolation_mode(spatial_dims)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.stride = 2 ** (len(channels) - 1)
        self.pool = Pool[Pool.MAX, spatial_dims](kernel_size=2)
        self.first = double_conv(spatial_dims, in_channels, channels[0])
        self.encoder = nn.ModuleList(
            [double_conv(spatial_dims, channels[i], channels[i + 1]) for i in range(len(channels) - 1)]
        )
        self.decoder = nn.ModuleList(
            [UNetDecoderStage(spatial_dims, channels[i + 1], channels[i]) for i in reversed(range(len(channels) - 1))]
        )
        self.head = Conv[Conv.CONV, spatial_dims](channels[0], out_channels, kernel_size=1)
        self.gradcam_layer = f"encoder.{len(channels) - 2}"  # the deepest
        init_he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits at the input's size."""
        check_input(x, self.spatial_dims, self.in_channels, self.stride)
        features = [self.first(x)]
        for stage in self.encoder:
            features.append(stage(self.pool(features[-1])))
        y = features[-1]
        for i, up in enumerate(self.decoder):
            y = up(y, features[-2 - i])
        return self.head(y)


class MultiTaskUNet(nn.Module):
    """Segment with a U-Net, and classify from its deepest features.

    It has the stages and widths of `MultiTaskOCANet`, and is not a published system: it shows what residual stages,
    group norm and object context add at equal size. Trainable parameters with the other arguments at their defaults:

    | num_classes |               | parameters |
    |-------------|---------------|------------|
    | 3           |               |  8,314,373 |
    | None        | masks only    |  7,788,034 |

    The U-Net that Y. Lu et al. (doi:10.3389/fonc.2025.1567577, table 2) compare with is not described; this is what
    stands for it here. The MT-DUNet of that table is `baselines.MTDUNet`.

    Reference:
        O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        MICCAI 2015, doi:10.1007/978-3-319-24574-4_28.

    Args:
        num_classes: number of classes of the image, or None for no class head.
        num_regions: number of regions of the mask, the background included.
        channels: width of each encoder stage, from fine to coarse; the bridge is twice as wide as the last.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side at least `2 ** len(channels)`
        - output: `MultiTaskOutput`, the mask at the input's size, no coarse mask

    Deviation:
        Three scales and padded convolutions with batch norm; group norm just before the mean of the classifier would
        make the mean nearly constant.
    """

    gradcam_layer = "backbone.bridge"  # what both tasks see

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 2,
        num_classes: int | None = 3,
        num_regions: int = 2,
        channels: Sequence[int] = (64, 128, 256),
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.backbone = UNetBackbone(spatial_dims, in_channels, channels, plain_stage)
        self.head = region_head(spatial_dims, channels[0], num_regions)
        self.classifier = class_head(spatial_dims, self.backbone.bridge_channels, num_classes)

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        """Return the logits of the mask and of the classes."""
        check_input(x, self.spatial_dims, self.in_channels, self.backbone.stride)
        features, bridge = self.backbone(x)
        return MultiTaskOutput(mask=self.head(features), coarse_mask=None, class_logits=self.classifier(bridge))
