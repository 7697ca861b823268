"""BGRA-GSA: boundary-guided and region-aware decoders on global scale-adaptive features of an EfficientNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from hybrid_attention.networks.blocks.convolutions import check_input, conv_norm_act, crop_like, pad_to_multiple
from hybrid_attention.networks.encoders import efficientnet
from monai.networks.blocks import Convolution
from torch import nn

ENCODERS = tuple(f"efficientnet-b{size}" for size in range(8))
FEATURES = (1, 2, 3, 5, 6)  # the groups of blocks whose ends are used, at strides 4, 8, 16, 32, 32
STRIDE = 32


class EfficientNetFeatures(nn.Module):
    """EfficientNet up to its last block, as an encoder of five feature maps.

    Shape:
        - input: (batch, in_channels, height, width), sides that are multiples of 32
        - output: list of five feature maps, at strides 4, 8, 16, 32 and 32
    """

    def __init__(self, name: str, in_channels: int) -> None:
        super().__init__()
        net = efficientnet(name, 2, in_channels)
        self.stem = nn.Sequential(net._conv_stem_padding, net._conv_stem, net._bn0, nn.SiLU())
        self.stages = nn.ModuleList()
        for before, last in zip((-1, *FEATURES), FEATURES, strict=False):
            self.stages.append(nn.Sequential(*net._blocks[before + 1 : last + 1]))
        self.channels = [net._blocks[i][-1]._bn2.num_features for i in FEATURES]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps, from fine to coarse."""
        x = self.stem(x)
        features: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class SideMap(nn.Module):
    """Predict one logit per pixel from coarse features: 1x1 convolution, transposed convolution, 1x1 convolution.

    Shape:
        - input: (batch, channels, height, width)
        - output: (batch, 1, scale height, scale width), logits
    """

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 1, kernel_size=1),
            nn.ConvTranspose2d(1, 1, kernel_size=2 * scale, stride=scale, padding=scale // 2, bias=False),
            nn.Conv2d(1, 1, kernel_size=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.layers(x)


class GlobalScaleAdaptive(nn.Module):
    """Sum three dilated convolutions, weigh the sum per position and per channel, and join both.

    Shape:
        - input: (batch, in_channels, height, width)
        - output: (batch, out_channels, height, width)
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            [Convolution(2, in_channels, out_channels, dilation=rate, norm="batch", act="relu") for rate in (1, 3, 5)]
        )
        self.position_gate = nn.Conv2d(3 * out_channels, out_channels, kernel_size=1, bias=False)
        self.channel_gate = nn.Sequential(
            nn.Linear(3 * out_channels, 64, bias=False), nn.ReLU(), nn.Linear(64, out_channels), nn.Sigmoid()
        )
        self.fuse = conv_norm_act(2, 2 * out_channels, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of all scales."""
        scales: list[torch.Tensor] = []
        for conv in self.scales:
            scales.append(conv(x))
        joined, total = torch.cat(scales, dim=1), scales[0] + scales[1] + scales[2]
        by_position = self.position_gate(joined).softmax(dim=1) * total
        by_channel = self.channel_gate(joined.mean(dim=[2, 3]))[:, :, None, None] * total
        return self.fuse(torch.cat([by_position, by_channel], dim=1))


class EdgeUnit(nn.Module):
    """Find edges as the difference of a sigmoid map and its 3x3 maxima, 0 where it is flat and negative at edges."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the edges: (b, c, h, w) -> (b, 1, h, w)."""
        x = torch.sigmoid(self.conv(x))
        return x - F.max_pool2d(x, kernel_size=3, stride=1, padding=1)


class BoundaryGuided(nn.Module):
    """Join deep features and a skip, and strengthen them at their edges: `x + gate(e1 e2) e3 x`.

    Shape:
        - input: (batch, in_channels, height, width)
        - output: (batch, out_channels, height, width)
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        self.first, self.second, self.third = (EdgeUnit(out_channels) for _ in range(3))
        self.gate = nn.Sequential(nn.Conv2d(1, 1, kernel_size=1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the strengthened features."""
        x = self.conv(x)
        return x + self.gate(self.first(x) * self.second(x)) * self.third(x) * x


class ResidualStage(nn.Module):
    """Convolve twice, with a 1x1 convolution as residual connection.

    Shape:
        - input: (batch, in_channels, height, width)
        - output: (batch, out_channels, height, width)
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv_norm_act(2, in_channels, out_channels), conv_norm_act(2, out_channels, out_channels)
        )
        self.shortcut = conv_norm_act(2, in_channels, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolved features."""
        return torch.relu(self.convs(x) + self.shortcut(x))


class RegionAware(nn.Module):
    """Keep of the decoder's features what the deeper ones do not show yet, and add the deeper ones.

    Shape:
        - input: (batch, deep_channels, height / 2, width / 2) and (batch, channels, height, width)
        - output: (batch, channels, height, width)
    """

    def __init__(self, deep_channels: int, channels: int) -> None:
        super().__init__()
        self.reverse = nn.Conv2d(deep_channels, 1, kernel_size=1)
        self.project = nn.Conv2d(deep_channels, channels, kernel_size=1)

    def forward(self, deep: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the joined features."""
        deep = _double(deep)
        return x * (1 - torch.sigmoid(self.reverse(deep))) + self.project(deep)


class BGRAGSA(nn.Module):
    """Segment with a decoder that is guided by predicted boundaries and supervised at 18 places.

    It has 101,344,026 parameters with EfficientNet-B7, of which 39,200,586 are not the encoder's.

    Reference:
        K. Hu, X. Zhang, D. Lee, D. Xiong, Y. Zhang, X. Gao, "Boundary-Guided and Region-Aware Network With Global
        Scale-Adaptive for Accurate Segmentation of Breast Tumors in Ultrasound Images", IEEE JBHI 27, 4421-4432 (2023),
        doi:10.1109/JBHI.2023.3285789, and the authors' code.

    Args:
        encoder: "efficientnet-b0" to "efficientnet-b7", the authors'. B0 is for CPUs.
        channels: width of the deepest features and of the four decoder stages, from coarse to fine.

    Shape:
        - input: (batch, in_channels, height, width), any size with every side at least 32
        - output: (batch, 1, height, width), logits; in training a list of the logits of eight masks, the first of them
          the prediction, and of ten boundaries, (batch, 8, height, width) and (batch, 10, height, width), for
          `hybrid_attention.losses.MaskAndBoundaryLoss`

    Deviation:
        The gate of the edges is a sigmoid. In the authors' code it is a softmax over a single channel, which is 1
        whatever its input, so that two of three edge units would not learn. Batch norm is trained; theirs is called
        with frozen statistics. Random initial weights instead of ImageNet's. Their loss is not published; see
        `MaskAndBoundaryLoss`. In evaluation the region-aware part is not computed, since the prediction does not depend
        on it. Images are padded to a multiple of 32 with their last row or column.
    """

    gradcam_layer = "scale_adaptive"

    def __init__(
        self,
        in_channels: int = 3,
        encoder: str = "efficientnet-b7",
        channels: Sequence[int] = (1024, 512, 256, 128, 64),
    ) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            raise ValueError(f"encoder must be one of {ENCODERS}, got {encoder!r}")
        if len(channels) != len(FEATURES):
            raise ValueError(f"channels needs {len(FEATURES)} widths, got {tuple(channels)}")
        self.in_channels = in_channels
        self.stride = STRIDE
        self.encoder = EfficientNetFeatures(encoder, in_channels)
        *skips, deepest = self.encoder.channels
        skips = skips[::-1]  # from coarse to fine, at strides 16, 8, 4, 2 after doubling
        scales = [STRIDE // 2**i for i in range(len(channels))]
        self.scale_adaptive = GlobalScaleAdaptive(deepest, channels[0])
        self.boundary = nn.ModuleList([BoundaryGuided(channels[0] + deepest, channels[0])])
        self.boundary_fuse = nn.ModuleList()
        self.decoder, self.region = nn.ModuleList(), nn.ModuleList()
        for i, skip in enumerate(skips):
            self.boundary.append(BoundaryGuided(channels[i] + skip, channels[i + 1]))
            fuse = conv_norm_act(2, i + 2, 1, kernel_size=1)
            self.boundary_fuse.append(nn.Sequential(fuse, nn.Conv2d(1, 1, kernel_size=1)))
            self.decoder.append(ResidualStage(channels[i] + skip, channels[i + 1]))
            self.region.append(RegionAware(channels[i], channels[i + 1]))
        self.pools = nn.ModuleList([nn.MaxPool2d(scale) for scale in scales[1:]])
        self.boundary_maps = nn.ModuleList([SideMap(*pair) for pair in zip(channels, scales, strict=True)])
        self.boundary_head = nn.Conv2d(channels[-1], 1, kernel_size=1)
        self.region_maps = nn.ModuleList([SideMap(*pair) for pair in zip(channels, scales, strict=True)])
        self.region_head = nn.Conv2d(channels[-1], 1, kernel_size=1)
        fuse = conv_norm_act(2, len(channels), 1, kernel_size=1)
        self.region_fuse = nn.Sequential(fuse, nn.Conv2d(1, 1, kernel_size=1))
        self.head = nn.Conv2d(channels[-1], 1, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return the logits at the input's size."""
        check_input(x, 2, self.in_channels, self.stride)
        features = self.encoder(pad_to_multiple(x, self.stride))
        skips = [_double(features[3 - i]) for i in range(4)]
        deepest = self.scale_adaptive(features[-1])
        y, boundaries = deepest, torch.jit.annotate(list[torch.Tensor], [])
        for i, (guide, side) in enumerate(zip(self.boundary, self.boundary_maps)):  # noqa: B905 - TorchScript
            y = guide(torch.cat([y, features[-1]] if i == 0 else [_double(y), skips[i - 1]], dim=1))
            boundaries.append(side(y))
        guided, y = y, deepest
        fused: list[torch.Tensor] = []
        decoded: list[torch.Tensor] = []
        for i, (fuse, pool, stage) in enumerate(zip(self.boundary_fuse, self.pools, self.decoder)):  # noqa: B905
            fused.append(fuse(torch.sigmoid(torch.cat(boundaries[: i + 2], dim=1))))
            y = stage(torch.cat([_double(y), skips[i]], dim=1))
            y = y * pool(torch.sigmoid(fused[-1]))
            decoded.append(y)
        mask = self.head(_double(y))
        if not torch.jit.is_scripting():
            if self.training:
                masks = [mask, *self.region_masks(deepest, decoded)]
                boundaries += [self.boundary_head(_double(guided)), *fused]
                return [crop_like(torch.cat(maps, dim=1), x) for maps in (masks, boundaries)]
        return crop_like(mask, x)

    def region_masks(self, deepest: torch.Tensor, decoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the logits of the region-aware part at the padded size: its head, the joined masks, the five masks."""
        y, masks = deepest, [self.region_maps[0](deepest)]
        for region, side, x in zip(self.region, self.region_maps[1:], decoded, strict=True):
            y = region(y, x)
            masks.append(side(y))
        joined = self.region_fuse(torch.sigmoid(torch.cat(masks, dim=1)))
        return [self.region_head(_double(y)), joined, *masks]


def _double(x: torch.Tensor) -> torch.Tensor:
    """Repeat each row and column."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
