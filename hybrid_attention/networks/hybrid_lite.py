"""Light network for masks and classes: EfficientNet-Lite encoder, U-Net decoder, and optionally HAN's blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import check_input, plain_stage, resize_like
from hybrid_attention.networks.blocks.sfeb import SFEB
from hybrid_attention.networks.blocks.tam import TAM
from hybrid_attention.networks.encoders import EfficientNetLiteEncoder
from hybrid_attention.networks.multi_task import MultiTaskOutput, class_head, region_head
from hybrid_attention.networks.pretrained import WeightsSource
from torch import nn


class LiteDecoderStage(nn.Module):
    """Enhance the skip (SFEB or `nn.Identity()`), upsample the input to its size, concatenate, and convolve twice.

    Shape:
        - input: (batch, in_channels, *coarse) and (batch, skip_channels, height, width)
        - output: (batch, out_channels, height, width)
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, enhance: nn.Module) -> None:
        super().__init__()
        self.enhance = enhance
        self.conv = plain_stage(2, in_channels + skip_channels, out_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return the decoded features at the skip's size."""
        skip = self.enhance(skip)
        return self.conv(torch.cat([resize_like(x, skip, "bilinear"), skip], dim=1))


class HybridLiteNet(nn.Module):
    """Segment and classify with an EfficientNet-Lite encoder and a U-Net decoder.

    The decoder ends at half the input's size, and its logits are interpolated to the input's size. The class is
    predicted from the deepest features.

    Args:
        in_channels: number of input channels, 1 for grey images, or 3.
        num_classes: number of classes of the image, or None for no class head.
        num_regions: number of regions of the mask, the background included.
        encoder: "lite0", "lite1" or "lite2"; see `EfficientNetLiteEncoder`.
        channels: width of the four decoder stages, from coarse to fine.
        sfeb: whether the skips have HAN's spatial feature enhancement blocks.
        tam: whether the deepest features have HAN's transformer attention module.
        drop: largest probability of the encoder's stochastic depth.
        encoder_weights: None (random), "imagenet" or a path; see `EfficientNetLiteEncoder`.

    Shape:
        - input: (batch, in_channels, height, width), values from 0 to 1, every side at least 32
        - output: `MultiTaskOutput`, the mask at the input's size, no coarse mask
    """

    gradcam_layer = "bottleneck"  # what both tasks see

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int | None = 3,
        num_regions: int = 2,
        encoder: str = "lite0",
        channels: Sequence[int] = (128, 64, 32, 16),
        sfeb: bool = False,
        tam: bool = False,
        drop: float = 0.1,
        encoder_weights: WeightsSource = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.encoder = EfficientNetLiteEncoder(encoder, in_channels, drop, encoder_weights)
        *skips, deepest = self.encoder.channels
        if len(channels) != len(skips):
            raise ValueError(f"channels must be {len(skips)} widths, one per decoder stage, got {list(channels)}")
        self.tam = TAM(2, deepest, grid=8) if tam else nn.Identity()
        self.bottleneck = nn.Identity()  # a name for the features that Grad-CAM looks at
        self.decoder = nn.ModuleList()
        width = deepest
        for skip, out in zip(reversed(skips), channels, strict=True):
            self.decoder.append(LiteDecoderStage(width, skip, out, SFEB(2, skip) if sfeb else nn.Identity()))
            width = out
        self.head = region_head(2, width, num_regions)
        self.classifier = class_head(2, deepest, num_classes)

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        """Return the logits of the mask and of the classes."""
        check_input(x, 2, self.in_channels, self.encoder.stride)
        features = self.encoder(x)
        y = deepest = self.bottleneck(self.tam(features[-1]))
        for i, stage in enumerate(self.decoder):
            y = stage(y, features[-2 - i])
        mask = resize_like(self.head(y), x, "bilinear")  # (b, regions, h/2, w/2) -> (b, regions, h, w)
        return MultiTaskOutput(mask=mask, coarse_mask=None, class_logits=self.classifier(deepest))
