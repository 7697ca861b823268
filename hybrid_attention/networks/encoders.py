"""Encoders that return a feature map at each scale.

Each encoder has `stages`, a `ModuleList` with one stage per feature map, whose modules keep the names of the published
weights; `channels`, the width of each feature map; and `stride`, the stride of the last. Each stage halves the size:

| map | stride | 256 x 256 | `DenseNet121Encoder`           | `ResNet18Encoder`  | `EfficientNetB0Encoder`         |
|-----|--------|-----------|--------------------------------|--------------------|---------------------------------|
| E1  | 2      | 128       | 64: stem                       | 64: stem           | 16: stem, block 0               |
| E2  | 4      | 64        | 256: dense block 1             | 64: pool, layer 1  | 24: blocks 1-2                  |
| E3  | 8      | 32        | 512: dense block 2             | 128: layer 2       | 40: blocks 3-4                  |
| E4  | 16     | 16        | 1024: dense block 3            | 256: layer 3       | 112: blocks 5-10                |
| E5  | 32     | 8         | 1024: dense block 4, norm, ReLU| 512: layer 4       | 1280: blocks 11-15, head        |

Stem and head (320 to 1280 channels) are convolution, norm and activation. DenseNet has E5 with `depth=4` only, and its
E2 to E4 are taken before the norm of the following transition.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from hybrid_attention.networks.blocks.convolutions import set_batch_norm_momentum
from hybrid_attention.networks.pretrained import (
    DENSENET121,
    EFFICIENTNET_B0,
    EFFICIENTNET_LITE,
    RESNET18,
    PublishedWeights,
    WeightsSource,
    load_encoder_weights,
)
from monai.networks.layers import DropPath
from monai.networks.nets import DenseNet121, EfficientNetBN, ResNet
from torch import nn


class Encoder(nn.Module):
    """Base of the encoders: a sequence of stages, each of which halves the size and returns a feature map.

    Its `weights` are None (random), "imagenet" or the path of a published file; see `load_encoder_weights`.
    """

    def __init__(
        self,
        stages: Sequence[Mapping[str, nn.Module]],
        channels: tuple[int, ...],
        weights: WeightsSource,
        published: PublishedWeights,
        *,
        spatial_dims: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(OrderedDict(stage)) for stage in stages])
        self.channels = channels
        self.stride = 2 ** len(channels)
        load_encoder_weights(self, weights, published, spatial_dims=spatial_dims, in_channels=in_channels)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps, from fine to coarse."""
        features: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class DenseNet121Encoder(Encoder):
    """DenseNet-121, whole or cut after its third dense block, as an encoder of five or four scales.

    Reference:
        G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, "Densely Connected Convolutional Networks",
        CVPR 2017, doi:10.1109/CVPR.2017.243, table 1.

    Args:
        depth: number of dense blocks kept, 3 or 4.
        weights: initial weights; see `Encoder`.

    Shape:
        - input: (batch, in_channels, *spatial), every side at least `stride`
        - output: list of the feature maps in the module's table; an odd side is rounded up by the stem and its
          pooling, and down by the transitions
    """

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 3, depth: int = 3, weights: WeightsSource = None
    ) -> None:
        if depth not in (3, 4):
            raise ValueError(f"depth, the number of dense blocks, must be 3 or 4, got {depth}")
        parts = dict(DenseNet121(spatial_dims, in_channels, out_channels=1).features.named_children())
        parts["relu5"] = nn.ReLU(inplace=True)
        names = [
            ("conv0", "norm0", "relu0"),
            ("pool0", "denseblock1"),
            ("transition1", "denseblock2"),
            ("transition2", "denseblock3"),
            ("transition3", "denseblock4", "norm5", "relu5"),
        ]
        super().__init__(
            stages=[{name: parts[name] for name in stage} for stage in names[: depth + 1]],
            channels=(64, 256, 512, 1024, 1024)[: depth + 1],
            weights=weights,
            published=DENSENET121,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
        )


class ResNet18Encoder(Encoder):
    """ResNet-18 of torchvision without its classifier: 11,176,512 parameters in two dimensions.

    Reference:
        K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
        doi:10.1109/CVPR.2016.90, table 1.

    Shape:
        - input: (batch, in_channels, *spatial), every side at least `stride`
        - output: list of the feature maps in the module's table; an odd side is rounded up
    """

    def __init__(self, spatial_dims: int = 2, in_channels: int = 3, weights: WeightsSource = None) -> None:
        net = ResNet(
            "basic",
            layers=[2, 2, 2, 2],
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            bias_downsample=False,
            feed_forward=False,
        )
        super().__init__(
            stages=[
                {"conv1": net.conv1, "bn1": net.bn1, "act": net.act},
                {"maxpool": net.maxpool, "layer1": net.layer1},
                {"layer2": net.layer2},
                {"layer3": net.layer3},
                {"layer4": net.layer4},
            ],
            channels=(64, 64, 128, 256, 512),
            weights=weights,
            published=RESNET18,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
        )


def efficientnet(name: str, spatial_dims: int, in_channels: int) -> EfficientNetBN:
    """Build MONAI's EfficientNet, with a swish that can be scripted and the momentum of the other encoders."""
    net = EfficientNetBN(name, pretrained=False, spatial_dims=spatial_dims, in_channels=in_channels)
    set_batch_norm_momentum(net)
    for stack in net._blocks:
        for block in stack:
            block._swish = nn.SiLU()
    return net


class EfficientNetB0Encoder(Encoder):
    """EfficientNet-B0 with its head convolution, without its classifier: 4,007,548 parameters in two dimensions.

    In training, residual branches are dropped at random (stochastic depth, rate 0 to 0.2), as published.

    Reference:
        M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
        arXiv:1905.11946, table 1.

    Shape:
        - input: (batch, in_channels, *spatial), every side at least `stride`
        - output: list of the feature maps in the module's table; an odd side is rounded down. The padding is
          TensorFlow's "same", as in the training of the published weights, only for sides that are multiples of 32

    Deviation:
        `torch.nn.SiLU` replaces MONAI's memory-efficient swish: it computes the same, and can be scripted and exported.
        Batch norm has momentum 0.1, as in the other encoders, instead of 0.01; see `set_batch_norm_momentum`.
    """

    def __init__(self, spatial_dims: int = 2, in_channels: int = 3, weights: WeightsSource = None) -> None:
        net = efficientnet("efficientnet-b0", spatial_dims, in_channels)
        blocks = [block for stack in net._blocks for block in stack]

        def named(first: int, last: int) -> dict[str, nn.Module]:
            return {f"block{i}": blocks[i] for i in range(first, last + 1)}

        stem = {"pad_stem": net._conv_stem_padding, "conv_stem": net._conv_stem, "bn0": net._bn0, "swish0": nn.SiLU()}
        head = {"conv_head": net._conv_head, "bn1": net._bn1, "swish1": nn.SiLU()}
        super().__init__(
            stages=[stem | named(0, 0), named(1, 2), named(3, 4), named(5, 10), named(11, 15) | head],
            channels=(16, 24, 40, 112, 1280),
            weights=weights,
            published=EFFICIENTNET_B0,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
        )


# EfficientNet-Lite: width and depth multipliers
SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
# repeats, kernel size, stride, expansion, output channels of the seven groups of blocks
LITE_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
BATCH_NORM_EPS = 1e-3
# input groups of each feature map: a new map starts where the stride is two
LITE_MAPS = ((0,), (1,), (2,), (3, 4), (5, 6))


class SamePadConv2d(nn.Conv2d):
    """Convolution without bias and with TensorFlow's "same" padding, which the published weights were trained with.

    With stride 1 it is symmetric; with stride 2 an even side gets one row more behind than in front. In training on a
    CPU, depthwise convolutions are computed in float32 also under autocast: their gradients are 2 to 6 times slower in
    bfloat16 (torch 2.13, AVX-512).

    Shape:
        - input: (batch, in_channels, height, width)
        - output: (batch, out_channels, ceil(height / stride), ceil(width / stride))
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel_size // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolved features."""
        if self.stride[0] == 2:
            high, wide = self.kernel_size[0] - 2 + x.shape[2] % 2, self.kernel_size[1] - 2 + x.shape[3] % 2
            x = F.pad(x, [wide // 2, wide - wide // 2, high // 2, high - high // 2])
        if not torch.jit.is_scripting():
            if self.training and self.groups > 1 and x.device.type == "cpu":
                with torch.autocast("cpu", enabled=False):
                    return self._conv_forward(x.float(), self.weight, self.bias)
        return self._conv_forward(x, self.weight, self.bias)


def _norm(channels: int) -> nn.Module:
    # momentum as in the other encoders; see `set_batch_norm_momentum`
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS, momentum=0.1)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, project, and add the input if the shapes agree.

    Reference:
        M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv:1801.04381.

    Shape:
        - input: (batch, in_channels, height, width)
        - output: (batch, out_channels, ceil(height / stride), ceil(width / stride))
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int, drop: float
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        parts: list[tuple[str, nn.Module]] = []
        if expansion != 1:
            parts += [("expand_conv", SamePadConv2d(in_channels, inner, 1))]
            parts += [("bn0", _norm(inner)), ("act0", nn.ReLU6())]
        parts += [
            ("depthwise_conv", SamePadConv2d(inner, inner, kernel_size, stride, groups=inner)),
            ("bn1", _norm(inner)),
            ("act1", nn.ReLU6()),
            ("project_conv", SamePadConv2d(inner, out_channels, 1)),
            ("bn2", _norm(out_channels)),
        ]
        self.branch = nn.Sequential(OrderedDict(parts))
        self.residual = stride == 1 and in_channels == out_channels
        self.drop = DropPath(drop) if self.residual and drop else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's features."""
        y = self.branch(x)
        return x + self.drop(y) if self.residual else y


class ScaleToWeights(nn.Module):
    """Scale images from [0, 1] to what the published weights expect: (255 x - 127) / 128."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scaled images."""
        return x * (255 / 128) - 127 / 128


class EfficientNetLiteEncoder(Encoder):
    """EfficientNet-Lite0, 1 or 2 without its head, as an encoder of five scales.

    | map | stride | 256 x 256 | lite0 and lite1 | lite2 |
    |-----|--------|-----------|-----------------|-------|
    | E1  | 2      | 128       | 16              | 16    |
    | E2  | 4      | 64        | 24              | 24    |
    | E3  | 8      | 32        | 40              | 48    |
    | E4  | 16     | 16        | 112             | 120   |
    | E5  | 32     | 8         | 320             | 352   |

    Trainable parameters with three input channels: 2,958,848 (lite0), 3,723,520 (lite1), 4,357,952 (lite2). In training
    residual branches are dropped at random (stochastic depth, growing to `drop` with depth).

    Reference:
        M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
        arXiv:1905.11946; R. Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow Blog, 2020.

    Args:
        size: "lite0", "lite1" or "lite2".
        in_channels: 3, or 1 for grey images, which gives what 3 equal channels give.
        drop: largest probability of stochastic depth.
        weights: None (random), "imagenet" (of the installed package; extra `pretrained`) or the path of its file.

    Shape:
        - input: (batch, in_channels, height, width), values from 0 to 1, every side at least 32
        - output: list of the feature maps in the table; an odd side is rounded up
    """

    def __init__(
        self, size: str = "lite0", in_channels: int = 3, drop: float = 0.1, weights: WeightsSource = None
    ) -> None:
        if size not in SCALES:
            raise ValueError(f"size must be one of {', '.join(SCALES)}, got {size!r}")
        width, depth = SCALES[size]
        # the first and the last group keep their number of blocks
        repeats = [
            count if number in (0, len(LITE_GROUPS) - 1) else math.ceil(depth * count)
            for number, (count, *_) in enumerate(LITE_GROUPS)
        ]
        total, number, channels = sum(repeats), 0, STEM_CHANNELS
        groups: list[dict[str, nn.Module]] = []
        widths: list[int] = []
        for count, (_, kernel_size, stride, expansion, out_channels) in zip(repeats, LITE_GROUPS, strict=True):
            out_channels = _rounded(width * out_channels)
            blocks: dict[str, nn.Module] = {}
            for i in range(count):
                step = stride if i == 0 else 1
                block = InvertedResidual(channels, out_channels, kernel_size, step, expansion, drop * number / total)
                blocks[f"block{number}"] = block
                number, channels = number + 1, out_channels
            groups.append(blocks)
            widths.append(channels)
        stem: dict[str, nn.Module] = {
            "scale": ScaleToWeights(),
            "conv_stem": SamePadConv2d(in_channels, STEM_CHANNELS, 3, 2),
            "bn0": _norm(STEM_CHANNELS),
            "act": nn.ReLU6(),
        }
        stages = [{name: block for index in indices for name, block in groups[index].items()} for indices in LITE_MAPS]
        stages[0] = stem | stages[0]
        super().__init__(
            stages=stages,
            channels=tuple(widths[indices[-1]] for indices in LITE_MAPS),
            weights=weights,
            published=EFFICIENTNET_LITE[size],
            spatial_dims=2,
            in_channels=in_channels,
        )


def _rounded(channels: float, divisor: int = 8) -> int:
    """Round a width to a multiple of eight, but never down by more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
