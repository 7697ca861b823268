"""MT-DUNet: a deeper U-Net whose second deepest features are pooled in a pyramid and classified."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import check_input, plain_stage, resize_like
from hybrid_attention.networks.multi_task import MultiTaskOutput, NoClassifier, region_head
from torch import nn

PYRAMID = (4, 2, 1)  # bins along each axis


class PyramidClassifier(nn.Module):
    """Classify the maxima of the bins of a spatial pyramid by two linear layers with dropout between them.

    The bins are those of `nn.AdaptiveMaxPool2d`, which ONNX has for maps of a fixed size only.

    Reference:
        K. He, X. Zhang, S. Ren, J. Sun, "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual
        Recognition", ECCV 2014, arXiv:1406.4729.

    Shape:
        - input: (batch, channels, height, width), any size
        - output: (batch, num_classes), logits
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        bins = sum(count**2 for count in PYRAMID)
        self.layers = nn.Sequential(
            nn.Linear(bins * channels, channels), nn.Dropout(0.5), nn.Linear(channels, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class logits."""
        levels = [self.maxima(self.maxima(x, 4), 4), self.maxima(self.maxima(x, 2), 2), x.amax(dim=[2, 3])]
        return self.layers(torch.cat([level.flatten(1) for level in levels], dim=1))  # (b, 21c) -> (b, classes)

    def maxima(self, x: torch.Tensor, count: int) -> torch.Tensor:
        """Return the maxima of `count` bins along axis 2 as the last axis: (b, c, h, w) -> (b, c, w, count)."""
        side = x.shape[2]
        place = torch.arange(side, device=x.device)[:, None]
        bins: list[torch.Tensor] = []
        for i in range(count):
            outside = (place < i * side // count) | (place >= ((i + 1) * side + count - 1) // count)
            bins.append(x.masked_fill(outside, -torch.inf).amax(dim=2))
        return torch.stack(bins, dim=-1)


class MTDUNet(nn.Module):
    """Segment with a U-Net of six scales, and classify from its second deepest features.

    Trainable parameters with one input channel: 30,703,941 with three classes, 30,703,428 with two, 25,196,866 without
    the class head.

    Reference:
        C. Chen, W. Bai, D. Rueckert, "Multi-task Learning for Left Atrial Segmentation on GE-MRI", STACOM 2018,
        doi:10.1007/978-3-030-12029-0_32, arXiv:1810.13205, and the authors' code. Y. Lu et al.,
        doi:10.3389/fonc.2025.1567577, tables 2 to 5, name it MT-DUNet and MTL-DUNet.

    Args:
        num_classes: number of classes of the image, or None for no class head.
        num_regions: number of regions of the mask, the background included.
        channels: width of each scale, from fine to coarse.

    Shape:
        - input: (batch, in_channels, height, width), any size with every side at least `2 ** (len(channels) - 1)`
        - output: `MultiTaskOutput`, the mask at the input's size, no coarse mask

    Deviation:
        The authors' inputs have sides that 32 divides; here decoder features are interpolated to the size of the skip.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int | None = 3,
        num_regions: int = 2,
        channels: Sequence[int] = (64, 128, 256, 512, 512, 512),
    ) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, or None for no class head, got {num_classes}")
        self.in_channels = in_channels
        self.stride = 2 ** (len(channels) - 1)
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList()
        for before, width in zip([in_channels, *channels], channels, strict=False):
            self.encoder.append(plain_stage(2, before, width))
        self.decoder = nn.ModuleList()
        width = channels[-1]
        for i in reversed(range(len(channels) - 1)):
            self.decoder.append(plain_stage(2, width + channels[i], channels[max(i - 1, 0)]))
            width = channels[max(i - 1, 0)]
        self.head = region_head(2, width, num_regions)
        self.classifier = NoClassifier() if num_classes is None else PyramidClassifier(channels[-2], num_classes)
        self.gradcam_layer = f"encoder.{len(channels) - 2}"  # what both tasks see

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        """Return the logits of the mask and of the classes."""
        check_input(x, 2, self.in_channels, self.stride)
        features: list[torch.Tensor] = []
        for i, stage in enumerate(self.encoder):
            x = stage(x if i == 0 else self.pool(x))
            features.append(x)
        for i, stage in enumerate(self.decoder):
            skip = features[-2 - i]
            x = stage(torch.cat([resize_like(x, skip, "bilinear", align_corners=True), skip], dim=1))
        return MultiTaskOutput(mask=self.head(x), coarse_mask=None, class_logits=self.classifier(features[-2]))
