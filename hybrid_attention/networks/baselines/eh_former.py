"""EH-Former: two mix transformers, for the easy and the hard regions that a coarse segmentation tells apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from hybrid_attention.networks.blocks.attention import ChannelGate, SpatialGate
from hybrid_attention.networks.blocks.convolutions import check_input, crop_like, pad_to_multiple
from monai.networks.blocks import Convolution
from torch import nn

STRIDE = 32
SAMPLES = 6  # of the coarse segmentation
DROPOUT = 0.5
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


class ResidualUp(nn.Module):
    """Upsample by a transposed convolution, concatenate the skip, and convolve twice with a residual connection.

    Shape:
        - input: (batch, in_channels, height, width), and (batch, skip_channels, 2 height, 2 width) or None
        - output: (batch, out_channels, 2 height, 2 width)
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        width = in_channels + skip_channels
        self.up = nn.ConvTranspose2d(in_channels, in_channels, kernel_size=2, stride=2)
        self.convs = nn.Sequential(
            Convolution(2, width, out_channels, norm="batch", act="relu"),
            nn.Dropout(dropout),
            Convolution(2, out_channels, out_channels, norm="batch", act=None),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(width, out_channels, kernel_size=1, bias=False), nn.GroupNorm(min(32, out_channels), out_channels)
        )

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        """Return the decoded features."""
        x = self.up(x)
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        return torch.relu(self.convs(x) + self.shortcut(x))


class ResidualDecoder(nn.Module):
    """Decode the four feature maps of a mix transformer; 4,928,337 parameters with the widths of B1 to B5.

    Shape:
        - input: list of four feature maps, at strides 4, 8, 16 and 32
        - output: (batch, 1, height, width), logits
    """

    def __init__(self, channels: Sequence[int], dropout: float) -> None:
        super().__init__()
        deepest = channels[-1]
        widths = [deepest // 2, deepest // 4, deepest // 8, deepest // 32]
        self.stages = nn.ModuleList()
        for before, skip, width in zip([deepest, *widths], [*channels[-2::-1], 0], widths, strict=False):
            self.stages.append(ResidualUp(before, skip, width, dropout))
        self.head = nn.Conv2d(widths[-1], 1, kernel_size=1)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits."""
        y = features[-1]
        for i, stage in enumerate(self.stages):
            y = stage(y, features[2 - i] if i < 3 else None)
        return F.interpolate(self.head(y), scale_factor=2.0, mode="bilinear")


class EHFormerCoarse(nn.Module):
    """Segment with a mix transformer and a residual decoder, both with dropout; 86,371,345 parameters with B5.

    The first stage of EH-Former. Trained, its dropout tells which regions are hard.

    Reference:
        That of `EHFormer`.

    Args:
        backbone: "mit_b0" to "mit_b5", the authors'; B0 is for CPUs.
        dropout: rate on each feature map and within the decoder's stages.

    Shape:
        - input: (batch, in_channels, height, width), any size with every side at least 32
        - output: (batch, 1, height, width), logits

    Deviation:
        Random initial weights instead of SegFormer's. Images are padded to a multiple of 32 with their last row or
        column. With B0, the decoder is half as wide.
    """

    gradcam_layer = "encoder.stages.3"

    def __init__(self, in_channels: int = 3, backbone: str = "mit_b5", dropout: float = DROPOUT) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = STRIDE
        self.encoder = MixTransformer(in_channels, backbone)
        self.dropout = nn.Dropout(dropout)
        self.decoder = ResidualDecoder(self.encoder.channels, dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits at the input's size."""
        check_input(x, 2, self.in_channels, self.stride)
        features = [self.dropout(y) for y in self.encoder(pad_to_multiple(x, self.stride))]
        return crop_like(self.decoder(features), x)


class EasyHardFusion(nn.Module):
    """Join the features of the easy and the hard stream, and what was joined at the finer scale.

    `y = alpha (1 - g) SA(easy) + (1 - alpha) g SA(hard)`, with spatial gates SA and a channel gate
    `g = sigmoid(conv1x1(GAP(concat(hard, easy, finer))))`; output `ReLU(BN(conv3x3(CA(y)))) + finer`, with CBAM's
    channel gate CA and the finer features after a convolution and max-pooling.

    Shape:
        - input: twice (batch, channels, height, width); (batch, finer_channels, 2 height, 2 width) or None; alpha, one
          value
        - output: (batch, channels, height, width)
    """

    def __init__(self, channels: int, finer_channels: int) -> None:
        super().__init__()
        self.easy_gate, self.hard_gate = SpatialGate(2), SpatialGate(2)
        self.gate = nn.Conv2d((3 if finer_channels else 2) * channels, channels, kernel_size=1)
        self.channel_gate = ChannelGate(2, channels, reduction=16)
        self.fuse = Convolution(2, channels, channels, bias=False, norm="batch", act="relu")
        self.finer = nn.Sequential()
        if finer_channels:
            self.finer.append(Convolution(2, finer_channels, channels, bias=False, norm="batch", act="relu"))
            self.finer.append(nn.MaxPool2d(2))

    def forward(
        self, easy: torch.Tensor, hard: torch.Tensor, finer: torch.Tensor | None, alpha: torch.Tensor
    ) -> torch.Tensor:
        """Return the joined features."""
        parts = [hard, easy]
        if finer is not None:
            finer = self.finer(finer)
            parts.append(finer)
        g = torch.sigmoid(self.gate(torch.cat(parts, dim=1).mean(dim=[2, 3], keepdim=True)))  # (b, c, 1, 1)
        y = alpha * (1 - g) * self.easy_gate(easy) + (1 - alpha) * g * self.hard_gate(hard)
        y = self.fuse(self.channel_gate(y))
        return y if finer is None else y + finer


class EHFormer(nn.Module):
    """Segment with one transformer for easy and one for hard regions, whose features are fused at each scale.

    It has 270,629,396 parameters with MiT-B5, of which the coarse part's 86,371,345 are trained before, as an
    `EHFormerCoarse`, and frozen here. In training, the coarse part segments each image six times with dropout. Where
    the samples differ, queries of the easy stream attend evenly at random; where they agree, those of the hard stream.

    Reference:
        X. Qu et al., "EH-Former: Regional easy-hard-aware transformer for breast lesion segmentation in ultrasound
        images", Information Fusion 109, 102430 (2024), doi:10.1016/j.inffus.2024.102430, and the authors' code.

    Args:
        backbone: "mit_b0" to "mit_b5", the authors'; B0 is for CPUs.

    Shape:
        - input: (batch, in_channels, height, width), any size with every side at least 32
        - output: (batch, 1, height, width), logits; in training a list of three, of the fused, the easy and the hard
          stream, for `monai.losses.DeepSupervisionLoss`

    Deviation:
        The authors shift the attention logits of a drawn query by -1e12, after which, rounded, all are equal; here they
        are set to 0, which is the same in any precision. Uncertainty is scaled per image. Batch norm of the coarse part
        keeps its statistics. `alpha`, the weight of the easy stream, is 0.5 unless it is scheduled: the authors lower
        it from 1 to 0.5 during the training, as `scripts/experiments/overlays/eh_former.yaml` does. Of the authors' two
        modes of the attention, it is the one that draws queries ("dim_query"). The public code
        lacks the lines of the loss: here the three outputs count alike. Random initial weights instead of SegFormer's.
    """

    gradcam_layer = "fusion.3"

    def __init__(self, in_channels: int = 3, backbone: str = "mit_b5") -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = STRIDE
        self.coarse = EHFormerCoarse(in_channels, backbone).requires_grad_(False)
        self.easy, self.hard = MixTransformer(in_channels, backbone), MixTransformer(in_channels, backbone)
        channels = self.easy.channels
        self.easy_decoder, self.hard_decoder = ResidualDecoder(channels, 0.0), ResidualDecoder(channels, 0.0)
        self.fusion = nn.ModuleList()
        for finer, width in zip((0, *channels), channels, strict=False):
            self.fusion.append(EasyHardFusion(width, finer))
        self.decoder = ResidualDecoder(channels, 0.0)
        self.register_buffer("alpha", torch.tensor(0.5))
        self.train()

    def train(self, mode: bool = True) -> EHFormer:
        """Set training or evaluation mode; of the frozen coarse part only the dropout changes."""
        super().train(mode)
        for part in self.coarse.modules():
            part.training = mode and isinstance(part, nn.Dropout)
        return self

    def set_alpha(self, alpha: float) -> None:
        """Set the weight of the easy stream."""
        self.get_buffer("alpha").fill_(alpha)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return the logits at the input's size."""
        check_input(x, 2, self.in_channels, self.stride)
        padded = pad_to_multiple(x, self.stride)
        uncertainty: list[torch.Tensor | None] = [None, None]
        if not torch.jit.is_scripting():
            if self.training:
                difficulty = self.difficulty(padded)
                uncertainty = [difficulty, difficulty.amax(dim=[1, 2, 3], keepdim=True) - difficulty]
        easy, hard = self.easy(padded, uncertainty[0]), self.hard(padded, uncertainty[1])
        fused: list[torch.Tensor] = []
        for i, fusion in enumerate(self.fusion):
            fused.append(fusion(easy[i], hard[i], fused[-1] if i > 0 else None, self.alpha))
        logits = self.decoder(fused)
        if not torch.jit.is_scripting():
            if self.training:
                streams = (logits, self.easy_decoder(easy), self.hard_decoder(hard))
                return [crop_like(one, x) for one in streams]
        return crop_like(logits, x)

    @torch.no_grad()
    @torch.jit.unused
    def difficulty(self, x: torch.Tensor) -> torch.Tensor:
        """Return how uncertain the coarse part is, 0 to 1: the mean of variance and entropy, each by its maximum."""
        samples = torch.stack([torch.sigmoid(self.coarse(x).float()) for _ in range(SAMPLES)])  # (samples, b, 1, h, w)
        entropy = -(samples * samples.clamp(min=1e-12).log()).mean(dim=0)
        both = [
            part / part.amax(dim=[1, 2, 3], keepdim=True).clamp(min=1e-12) for part in (samples.var(dim=0), entropy)
        ]
        return (both[0] + both[1]) / 2
