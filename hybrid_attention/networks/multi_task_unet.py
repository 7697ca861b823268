"""U-Net with a classifier on its bridge, or without it, of the same size as MTL-OCA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import check_input
from hybrid_attention.networks.blocks.multi_task_heads import class_head, region_head
from hybrid_attention.networks.blocks.unet_backbone import UNetBackbone, plain_stage
from hybrid_attention.networks.multi_task_output import MultiTaskOutput
from torch import nn


class MultiTaskUNet(nn.Module):
    """Segment with a U-Net, and classify from its deepest features.

    It has the stages and widths of `MultiTaskOCANet`, and is not a published system: it shows what residual stages,
    group norm and object context add at equal size. Trainable parameters with the other arguments at their defaults:

    | num_classes |               | parameters |
    |-------------|---------------|------------|
    | 3           |               |  8,314,373 |
    | None        | masks alone   |  7,788,034 |

    The U-Net that Y. Lu et al. (doi:10.3389/fonc.2025.1567577, table 2) compare with is not described; this is what
    stands for it here. The MT-DUNet of that table is `baselines.MTDUNet`.

    Reference:
        O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        MICCAI 2015, doi:10.1007/978-3-319-24574-4_28.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        num_classes: number of classes of the image, or None for no class head.
        num_regions: number of regions of the mask, the background included.
        channels: width of each encoder stage, from fine to coarse; the bridge is twice as wide as the last.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side at least `2 ** len(channels)`
        - output: `MultiTaskOutput`: mask (batch, num_regions, *spatial), coarse_mask None, class_logits
          (batch, num_classes) or None; all of them logits

    Raises:
        ValueError: an argument or the input is invalid.

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
