"""Mix transformer (MiT), the encoder of SegFormer, whose attention can be blurred where an image is uncertain."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

BACKBONES = {  # widths and number of blocks of each stage
    "mit_b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "mit_b2": ((64, 128, 320, 512), (3, 4, 6, 3)),
    "mit_b3": ((64, 128, 320, 512), (3, 4, 18, 3)),
    "mit_b4": ((64, 128, 320, 512), (3, 8, 27, 3)),
    "mit_b5": ((64, 128, 320, 512), (3, 6, 40, 3)),
}
HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)  # of the sides of keys and values
BLUR = (0.4, 0.32, 0.24, 0.16)  # share of the queries that attend evenly where the uncertainty is 1


def layer_norm(channels: int) -> nn.Module:
    """Build a layer norm with SegFormer's epsilon."""
    return nn.LayerNorm(channels, eps=1e-6)


class ReducedAttention(nn.Module):
    """Attend from each position to the positions of a smaller map.

    Args:
        reduction: factor by which a strided convolution shortens the sides of keys and values.

    Shape:
        - input: (batch, height, width, channels), sides that are multiples of `reduction`; and 1 for the positions that
          attend evenly to all others, else 0, (batch, 1, height width, 1), or None
        - output: (batch, height, width, channels)
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        reduces = reduction > 1
        self.reduce = nn.Conv2d(channels, channels, reduction, stride=reduction) if reduces else nn.Identity()
        self.norm = layer_norm(channels) if reduces else nn.Identity()

    def forward(self, x: torch.Tensor, even: torch.Tensor | None) -> torch.Tensor:
        """Return the attended features."""
        b, h, w, c = x.shape
        width = c // self.heads
        q = self.query(x).reshape(b, h * w, self.heads, width).transpose(1, 2)  # (b, heads, n, c/heads)
        reduced = self.norm(self.reduce(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2))  # (b, m, c)
        kv = self.key_value(reduced).reshape(b, -1, 2, self.heads, width).permute(2, 0, 3, 1, 4)
        scores = q @ kv[0].transpose(-2, -1) * width**-0.5  # (b, heads, n, m)
        if even is not None:
            scores = scores * (1 - even)
        x = (scores.softmax(dim=-1) @ kv[1]).transpose(1, 2).reshape(b, h, w, c)
        return self.out(x)


class MixBlock(nn.Module):
    """Attend, then apply a perceptron with a depthwise convolution, both after a layer norm and with a residual.

    Shape:
        - input and output: as `ReducedAttention`
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        inner = 4 * channels
        self.norm1 = layer_norm(channels)
        self.attention = ReducedAttention(channels, heads, reduction)
        self.norm2 = layer_norm(channels)
        self.widen = nn.Linear(channels, inner)
        self.depthwise = nn.Conv2d(inner, inner, kernel_size=3, padding=1, groups=inner)
        self.narrow = nn.Linear(inner, channels)

    def forward(self, x: torch.Tensor, even: torch.Tensor | None) -> torch.Tensor:
        """Return the block's features."""
        x = x + self.attention(self.norm1(x), even)
        y = self.depthwise(self.widen(self.norm2(x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.narrow(F.gelu(y))


class MixStage(nn.Module):
    """Embed overlapping patches, and apply blocks.

    Args:
        stage: number of the stage, from 0, which decides on heads, reduction, patches and `BLUR`.

    Shape:
        - input: (batch, in_channels, height, width), and the uncertainty of each pixel, (batch, 1, any, any), or None
        - output: (batch, channels, height / 4, width / 4) of the first stage, half the sides of the others
    """

    def __init__(self, in_channels: int, channels: int, depth: int, stage: int) -> None:
        super().__init__()
        kernel, stride = (7, 4) if stage == 0 else (3, 2)
        self.blur = BLUR[stage]
        self.embed = nn.Conv2d(in_channels, channels, kernel_size=kernel, stride=stride, padding=kernel // 2)
        self.embed_norm = layer_norm(channels)
        self.blocks = nn.ModuleList([MixBlock(channels, HEADS[stage], REDUCTIONS[stage]) for _ in range(depth)])
        self.norm = layer_norm(channels)

    def forward(self, x: torch.Tensor, uncertainty: torch.Tensor | None = None) -> torch.Tensor:
        """Return the stage's features."""
        x = self.embed_norm(self.embed(x).permute(0, 2, 3, 1))  # (b, h, w, c)
        chance: torch.Tensor | None = None
        even: torch.Tensor | None = None
        if uncertainty is not None:
            chance = self.blur * F.interpolate(uncertainty, x.shape[1:3], mode="bilinear").flatten(1)[:, None, :, None]
        for block in self.blocks:
            if chance is not None:
                even = torch.bernoulli(chance)
            x = block(x, even)
        return self.norm(x).permute(0, 3, 1, 2)


class MixTransformer(nn.Module):
    """Mix transformer, an encoder of four feature maps; 3,319,392 parameters (B0) to 81,443,008 (B5) with 3 channels.

    Reference:
        E. Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", NeurIPS
        2021, arXiv:2105.15203, table 6. The uneven attention is that of EH-Former; see `EHFormer`.

    Args:
        backbone: "mit_b0" to "mit_b5".

    Shape:
        - input: (batch, in_channels, height, width), sides that are multiples of 32; and the uncertainty of each pixel,
          (batch, 1, any, any), values from 0 to 1, or None
        - output: list of four feature maps, at strides 4, 8, 16 and 32
    """

    def __init__(self, in_channels: int, backbone: str) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {tuple(BACKBONES)}, got {backbone!r}")
        self.channels, depths = BACKBONES[backbone]
        self.stages = nn.ModuleList()
        for i, depth in enumerate(depths):
            self.stages.append(MixStage((in_channels, *self.channels)[i], self.channels[i], depth, i))
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)

    def forward(self, x: torch.Tensor, uncertainty: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the feature maps, from fine to coarse."""
        features: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(x, uncertainty)
            features.append(x)
        return features
