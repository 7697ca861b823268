"""EfficientNet-Lite as an encoder: no squeeze-and-excitation, and ReLU6, so that it is fast on CPUs."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from hybrid_attention.networks.encoders import Encoder
from hybrid_attention.networks.weights import EFFICIENTNET_LITE, WeightsSource
from monai.networks.layers import DropPath
from torch import nn

# width and depth multipliers
SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
# repeats, kernel size, stride, expansion, output channels of the seven groups of blocks
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
BATCH_NORM_EPS = 1e-3
# input groups of each feature map: a new map starts where the stride is two
MAPS = ((0,), (1,), (2,), (3, 4), (5, 6))


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

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: of the depthwise convolution.
        stride: of the depthwise convolution, 1 or 2.
        expansion: inner channels per input channel; 1 leaves the expansion out.
        drop: probability of dropping the residual branch of an image in training (stochastic depth).

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

    Raises:
        ValueError: When `size` is unknown, or the weights do not fit; see `load_encoder_weights`.
    """

    def __init__(
        self, size: str = "lite0", in_channels: int = 3, drop: float = 0.1, weights: WeightsSource = None
    ) -> None:
        if size not in SCALES:
            raise ValueError(f"size must be one of {', '.join(SCALES)}, got {size!r}")
        width, depth = SCALES[size]
        # the first and the last group keep their number of blocks
        repeats = [
            count if number in (0, len(GROUPS) - 1) else math.ceil(depth * count)
            for number, (count, *_) in enumerate(GROUPS)
        ]
        total, number, channels = sum(repeats), 0, STEM_CHANNELS
        groups: list[dict[str, nn.Module]] = []
        widths: list[int] = []
        for count, (_, kernel_size, stride, expansion, out_channels) in zip(repeats, GROUPS, strict=True):
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
        stages = [{name: block for index in indices for name, block in groups[index].items()} for indices in MAPS]
        stages[0] = stem | stages[0]
        super().__init__(
            stages=stages,
            channels=tuple(widths[indices[-1]] for indices in MAPS),
            weights=weights,
            published=EFFICIENTNET_LITE[size],
            spatial_dims=2,
            in_channels=in_channels,
        )


def _rounded(channels: float, divisor: int = 8) -> int:
    """Round a width to a multiple of eight, but never down by more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
