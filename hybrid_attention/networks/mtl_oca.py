"""Multi-task network with object-contextual attention (MTL-OCA) and its ablation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from hybrid_attention.networks.blocks.attention import ObjectContext
from hybrid_attention.networks.blocks.convolutions import (
    GROUPS,
    check_input,
    conv_relu,
    interpolation_mode,
    resize_like,
)
from hybrid_attention.networks.multi_task import MultiTaskOutput, class_head, region_head
from monai.networks.blocks import ResidualUnit
from monai.networks.layers import Pool
from torch import nn

CLASSIFY_ON = ("backbone", "object_context")


def residual_stage(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Build two 3x3 convolutions, each with group norm and ReLU, with a residual connection.

    If the widths differ, the residual connection is a 1x1 convolution with `(Cin + 1) Cout` parameters.
    """
    norm = ("group", {"num_groups": GROUPS})
    return ResidualUnit(spatial_dims, in_channels, out_channels, adn_ordering="NA", norm=norm, act="relu")


class UNetBackbone(nn.Module):
    """Encoder stages with max-pooling, a bridge, and decoder stages with upsampling and concatenated skips.

    Reference:
        O. Ronneberger, P. Fischer, T. Brox, "U-Net", MICCAI 2015, doi:10.1007/978-3-319-24574-4_28; with residual
        stages: Z. Zhang, Q. Liu, Y. Wang, "Road Extraction by Deep Residual U-Net", IEEE GRSL 2018, arXiv:1711.10684,
        which has three stages, a bridge of twice the width, and three stages.

    Args:
        channels: width of each encoder stage, from fine to coarse.
        stage: builds a stage: `plain_stage` or `residual_stage`.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side at least `stride`
        - output: (batch, channels[0], *spatial) from the decoder and (batch, 2 channels[-1], *deepest) from the
          bridge, whose sides are those of the input divided by `stride`, rounded down
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, channels: Sequence[int], stage: Callable[[int, int, int], nn.Module]
    ) -> None:
        super().__init__()
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


class ObjectContextRefinement(nn.Module):
    """Predict coarse regions, and fuse each pixel's features with their context.

    Shape:
        - input: (batch, channels, *spatial)
        - output: features (batch, channels, *spatial) and the coarse logits (batch, num_regions, *spatial)
    """

    def __init__(self, spatial_dims: int, channels: int, num_regions: int) -> None:
        super().__init__()
        self.coarse = region_head(spatial_dims, channels, num_regions)
        self.context = ObjectContext(spatial_dims, channels)
        self.fuse = conv_relu(spatial_dims, 2 * channels, channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the augmented features and the coarse logits."""
        coarse = self.coarse(x)
        return self.fuse(torch.cat([self.context(x, coarse), x], dim=1)), coarse


class NoRefinement(nn.Module):
    """Return the features unchanged, without a coarse mask."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the features and None."""
        return x, None


class MultiTaskOCANet(nn.Module):
    """Segment with a Res-UNet and object-contextual attention, and classify from the features of the Res-UNet.

    The rows of the paper's table 6 (trainable parameters with the other arguments at their defaults):

    | object_context | classify_on      | num_classes | row                                 | parameters |
    |----------------|------------------|-------------|-------------------------------------|------------|
    | False          | "backbone"       | 3           | without OCA                         |  8,228,101 |
    | True           | "object_context" | 3           | with OCA, classification on OCA     |  8,245,159 |
    | True           | "backbone"       | 3           | with OCA, classification on backbone|  8,245,159 |
    | True           | "backbone"       | None        | segmentation only (not in table)    |  8,236,708 |

    Reference:
        Y. Lu, F. Sun, J. Wang, K. Yu, "Automatic joint segmentation and classification of breast ultrasound images via
        multi-task learning with object contextual attention", Frontiers in Oncology 15, 1567577 (2025),
        doi:10.3389/fonc.2025.1567577, figures 1, 2, table 6.

    Args:
        in_channels: number of input channels; 2 in the paper: the image and the magnitude of its Gaussian derivative.
        num_classes: number of classes of the image, or None for no class head.
        num_regions: number of regions of the mask, the background included (the paper's K).
        channels: width of each encoder stage, from fine to coarse; multiples of 8, the first of 16 with OCA.
        object_context: whether object-contextual attention refines a coarse mask. If not, the mask is predicted from
            the backbone's features, and there is no coarse mask.
        classify_on: features that the classifier pools: "backbone" (the decoder's output, before OCA) or
            "object_context" (those that the refined mask is predicted from).

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side at least `2 ** len(channels)`
        - output: `MultiTaskOutput`, the masks at the input's size

    Deviation:
        The paper gives neither widths nor the layers of a stage: here a stage is two convolutions with group norm (8
        groups) and ReLU with a residual connection, and a bridge of twice the last width joins encoder and decoder.
        Upsampling is linear, to the size of the skip. The coarse head is a 1x1 convolution. Features and context are
        fused without norm: group norm would make the means that a classifier on the fused features pools nearly
        constant, and it hardly learned. Pooling for the
        classifier is mean and maximum (`PooledClassifier`), its hidden layer as wide as the features.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 2,
        num_classes: int | None = 3,
        num_regions: int = 2,
        channels: Sequence[int] = (64, 128, 256),
        object_context: bool = True,
        classify_on: str = "backbone",
    ) -> None:
        super().__init__()
        if classify_on not in CLASSIFY_ON:
            raise ValueError(f"classify_on must be one of {CLASSIFY_ON}, got {classify_on!r}")
        if classify_on == "object_context" and (not object_context or num_classes is None):
            raise ValueError(
                "classify_on='object_context' needs object_context=True and a number of classes, got "
                f"object_context={object_context} and num_classes={num_classes}"
            )
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.backbone = UNetBackbone(spatial_dims, in_channels, channels, residual_stage)
        self.refine = (
            ObjectContextRefinement(spatial_dims, channels[0], num_regions) if object_context else NoRefinement()
        )
        self.head = region_head(spatial_dims, channels[0], num_regions)
        self.classifier = class_head(spatial_dims, channels[0], num_classes)
        self.classified = CLASSIFY_ON.index(classify_on)
        self.gradcam_layer = f"backbone.decoder.{len(channels) - 1}"  # what both tasks see

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        """Return the logits of the mask, of the coarse mask and of the classes."""
        check_input(x, self.spatial_dims, self.in_channels, self.backbone.stride)
        features, _ = self.backbone(x)
        augmented, coarse = self.refine(features)
        classes = self.classifier([features, augmented][self.classified])
        return MultiTaskOutput(mask=self.head(augmented), coarse_mask=coarse, class_logits=classes)
