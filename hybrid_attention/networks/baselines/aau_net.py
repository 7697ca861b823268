"""AAU-Net: a U-Net whose convolutions are hybrid adaptive attention modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import (
    check_input,
    check_training_batch,
    conv_norm_act,
    crop_like,
    pad_to_multiple,
)
from monai.networks.blocks import Convolution
from torch import nn


class HAAM(nn.Module):
    """Weigh a dilated against a 5x5 convolution per channel, and their mixture against a 3x3 convolution per position.

    `ch = CB1x1(concat(w a, (1 - w) b))` with a dilated 3x3 and a 5x5 convolution `a`, `b` and
    `w = sigmoid(dense(ReLU(BN(dense(GAP(concat(a, b)))))))`; `s = CB1x1(CB3x3(x))`;
    `m = sigmoid(conv1x1(ReLU(ch + s)))`; output `BN(conv3x3(concat(m ch, (1 - m) s)))`.

    Reference:
        That of `AAUNet`, figure 3, as the hybrid adaptive attention module of the authors' code.

    Shape:
        - input: (batch, in_channels, height, width)
        - output: (batch, out_channels, height, width), not activated

    Raises:
        ValueError: a training batch has one item.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width = out_channels
        self.dilated = Convolution(2, in_channels, width, kernel_size=3, dilation=3, norm="batch", act="relu")
        self.wide = conv_norm_act(2, in_channels, width, kernel_size=5)
        self.channel_gate = nn.Sequential(
            nn.Linear(2 * width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width), nn.Sigmoid()
        )
        self.channel_fuse = conv_norm_act(2, 2 * width, width, kernel_size=1)
        self.spatial = nn.Sequential(
            conv_norm_act(2, in_channels, width), conv_norm_act(2, width, width, kernel_size=1)
        )
        self.spatial_gate = nn.Sequential(nn.ReLU(), nn.Conv2d(width, 1, kernel_size=1), nn.Sigmoid())
        self.fuse = Convolution(2, 2 * width, width, kernel_size=3, norm="batch", act=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the attended features."""
        check_training_batch(x, self.training, "HAAM")
        a, b = self.dilated(x), self.wide(x)
        w = self.channel_gate(torch.cat([a, b], dim=1).mean(dim=[2, 3]))[:, :, None, None]  # (b, f, 1, 1)
        channel = self.channel_fuse(torch.cat([w * a, (1 - w) * b], dim=1))
        spatial = self.spatial(x)
        m = self.spatial_gate(channel + spatial)  # (b, 1, h, w)
        return self.fuse(torch.cat([m * channel, (1 - m) * spatial], dim=1))


class AAUNet(nn.Module):
    """Segment with a U-Net of hybrid adaptive attention modules; 26,175,082 parameters, 104,623,306 at twice the width.

    Reference:
        G. Chen, L. Li, Y. Dai, J. Zhang, M. H. Yap, "AAU-Net: An Adaptive Attention U-Net for Breast Lesions
        Segmentation in Ultrasound Images", IEEE TMI 42, 1289-1300 (2023), doi:10.1109/TMI.2022.3226268,
        arXiv:2204.12077, and the authors' code of the module.

    Args:
        channels: width of each scale, from fine to coarse.

    Shape:
        - input: (batch, in_channels, height, width), any size with every side at least `2 ** (len(channels) - 1)`
        - output: (batch, out_channels, height, width), logits

    Deviation:
        The authors published the module, not the network around it: theirs is a U-Net in which the module replaces the
        convolutions. Here each scale has one module, its last convolution is 3x3, the widths are 32 to 512, and
        upsampling is a 2x2 transposed convolution, as in implementations by others. A training batch of one is refused,
        since the channel gate normalises one value per channel over the batch. Images whose sides the stride does not
        divide are padded with their last row or column. PyTorch's initial weights instead of Keras's.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, channels: Sequence[int] = (32, 64, 128, 256, 512)
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = 2 ** (len(channels) - 1)
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList()
        for before, width in zip([in_channels, *channels], channels, strict=False):
            self.encoder.append(HAAM(before, width))
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for i in reversed(range(len(channels) - 1)):
            self.up.append(nn.ConvTranspose2d(channels[i + 1], channels[i], kernel_size=2, stride=2))
            self.decoder.append(HAAM(2 * channels[i], channels[i]))
        self.head = nn.Conv2d(channels[0], out_channels, kernel_size=1)
        self.gradcam_layer = f"encoder.{len(channels) - 1}"  # the deepest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits at the input's size."""
        check_input(x, 2, self.in_channels, self.stride)
        y = pad_to_multiple(x, self.stride)
        features: list[torch.Tensor] = []
        for i, stage in enumerate(self.encoder):
            y = stage(y if i == 0 else self.pool(y))
            features.append(y)
        for i, (up, stage) in enumerate(zip(self.up, self.decoder)):  # noqa: B905 - TorchScript has no `strict`
            y = stage(torch.cat([features[-2 - i], up(y)], dim=1))
        return crop_like(self.head(y), x)
