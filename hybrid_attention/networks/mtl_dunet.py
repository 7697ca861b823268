"""U-Net with a classifier on its bridge (MTL-DUNet), or without it: the baselines of MTL-OCA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import check_input
from hybrid_attention.networks.blocks.multi_task_heads import class_head, region_head
from hybrid_attention.networks.blocks.unet_backbone import UNetBackbone, plain_stage
from hybrid_attention.networks.multi_task_output import MultiTaskOutput
from torch import nn


class MTLDUNet(nn.Module):
    """Segment with a U-Net, and classify from its deepest features.

    The baselines of the paper's table 2, with the stages and widths of `MultiTaskOCANet` (trainable parameters with the
    other arguments at their defaults):

    | num_classes | row                       | parameters |
    |-------------|---------------------------|------------|
    | 3           | MTL-DUNet                 |  8,314,373 |
    | None        | UNet (single task: masks) |  7,788,034 |

    Classification as a single task is `num_classes=3`, trained without the loss of the masks.

    Reference:
        C. Chen, W. Bai, D. Rueckert, "Multi-task Learning for Left Atrial Segmentation on GE-MRI", STACOM 2018,
        doi:10.1007/978-3-030-12029-0_32, arXiv:1810.13205; as a baseline of Y. Lu et al.,
        doi:10.3389/fonc.2025.1567577, table 2.

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
        A baseline of equal size, not an exact copy of the left-atrium network, which has five stages and classifies by
        spatial pyramid pooling with dropout. Here widths and the number of stages are those of `MultiTaskOCANet`, and
        the classifier is its two-layer perceptron on mean and maximum of the bridge's features. Stages have batch norm,
        as there: group norm just before the mean would make the mean nearly constant.
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
