"""Swin-Unet: a U-Net of shifted-window transformer blocks without convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import check_input, crop_like, pad_to_multiple
from monai.networks.blocks import MLPBlock
from monai.networks.layers import DropPath
from monai.networks.nets.swin_unetr import WindowAttention
from torch import nn

HEADS = (3, 6, 12, 24)  # of the stages at strides 4, 8, 16, 32
DEPTH = 2  # blocks per stage, of which the second is shifted
PATCH = 4


class SwinBlock(nn.Module):
    """Attend within windows, then apply a perceptron to each position, both after a layer norm and with a residual.

    A map is padded to whole windows, and positions of the padding are not attended to. With `shift`, windows are moved
    by half their side, and positions that only the roll makes neighbours do not see each other. Along an axis on which
    the map has a single window, nothing is shifted.

    Reference:
        Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021,
        arXiv:2103.14030, section 3.2, with MONAI's window attention.

    Shape:
        - input and output: (batch, height, width, channels), any size
    """

    def __init__(self, channels: int, heads: int, window_size: int, shift: bool, drop_path: float) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = window_size // 2 if shift else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, (window_size, window_size), qkv_bias=True)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLPBlock(channels, 4 * channels, act="GELU", dropout_mode="swin")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the attended features."""
        x = x + self.drop_path(self.attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """Return the window attention of normalised features."""
        b, h, w, c = x.shape
        side = self.window_size
        rows, columns = self.places(h, x), self.places(w, x)
        # (b, h, w, c) -> (b, high, wide, c), whole windows -> (b windows, side², c)
        x = x.index_select(1, rows.clamp(max=h - 1)).index_select(2, columns.clamp(max=w - 1))
        x = x.reshape(b, rows.shape[0] // side, side, columns.shape[0] // side, side, c)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, side * side, c)
        hidden = self.hidden(rows, h)[:, None, :, None, :, None] | self.hidden(columns, w)[None, :, None, :, None, :]
        x = self.attn(x, -100.0 * hidden.reshape(-1, side * side, side * side).to(x.dtype))
        x = x.reshape(b, rows.shape[0] // side, columns.shape[0] // side, side, side, c)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, rows.shape[0], columns.shape[0], c)
        return x.index_select(1, rows.argsort()[:h]).index_select(2, columns.argsort()[:w])

    def places(self, length: int, x: torch.Tensor) -> torch.Tensor:
        """Return the position of each row (or column) after padding and shift; those from `length` on are padding."""
        windows = (length + self.window_size - 1) // self.window_size
        places = torch.arange(windows * self.window_size, device=x.device)
        shift = self.shift * (places[-1:] >= self.window_size)  # a tensor, since sizes vary after export
        return (places + shift) % places.shape[0]

    def hidden(self, places: torch.Tensor, length: int) -> torch.Tensor:
        """Return whether a row (dimension 1) does not see another (dimension 2) of its window (dimension 0)."""
        rolled = places < torch.arange(places.shape[0], device=places.device)  # from the front to the end
        rolled = rolled.reshape(-1, self.window_size)
        padding = places.reshape(-1, 1, self.window_size) >= length
        return (rolled[:, :, None] != rolled[:, None]) | padding


class PatchMerging(nn.Module):
    """Concatenate the channels of 2x2 neighbours, normalise, and halve the channels by a linear layer.

    Shape:
        - input: (batch, height, width, C), even sides
        - output: (batch, height / 2, width / 2, 2 C)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the merged features."""
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5)  # (b, h/2, w/2, 2, 2, c)
        return self.reduction(self.norm(x.reshape(b, h // 2, w // 2, 4 * c)))


class PatchExpanding(nn.Module):
    """Widen the channels by a linear layer, move them to finer positions, and normalise.

    Shape:
        - input: (batch, height, width, channels)
        - output: (batch, scale height, scale width, out_channels)
    """

    def __init__(self, channels: int, out_channels: int, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(channels, scale * scale * out_channels, bias=False)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the expanded features."""
        b, h, w, _ = x.shape
        scale = self.scale
        x = self.expand(x).reshape(b, h, w, scale, scale, -1).permute(0, 1, 3, 2, 4, 5)  # (b, h, s, w, s, c)
        return self.norm(x.reshape(b, h * scale, w * scale, x.shape[-1]))


class SwinUNet(nn.Module):
    """Segment with Swin transformer blocks in encoder and decoder; 27,168,132 parameters with window 7, 3 channels.

    The encoder is that of Swin-T with two blocks per stage. Without the published weights of Swin-T, which its authors
    copy into encoder and decoder, it learns little from few images.

    Reference:
        H. Cao et al., "Swin-Unet: Unet-Like Pure Transformer for Medical Image Segmentation", ECCV 2022 Workshops,
        doi:10.1007/978-3-031-25066-8_9, arXiv:2105.05537, figure 1, and the authors' code.

    Args:
        channels: width C of the finest scale, a multiple of 3 that doubles at each of the three coarser ones.
        window_size: side of the attention windows, in patches of 4x4 pixels; 7 at the authors' 224 pixels.
        drop_path: probability of dropping a residual branch in the last block of the encoder; it rises linearly from 0.

    Shape:
        - input: (batch, in_channels, height, width), any size with every side at least 32
        - output: (batch, out_channels, height, width), logits

        `torch.export` with dynamic sides needs more than one window at every scale, that is a minimum above
        `32 * window_size`, and `prefer_deferred_runtime_asserts_over_guards=True`.

    Deviation:
        Grey images may enter as one channel (`in_channels=1`); the authors repeat it. Any size is accepted: an image is
        padded to a multiple of 32 with its last row or column, and a map to whole windows, whose padding is not
        attended to, so a window may be larger than the map. The authors' configuration names one block for the finest
        decoder stage, but their code builds two, as here. Random initial weights instead of Swin-T's.
    """

    gradcam_layer = "deepest"

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        channels: int = 96,
        window_size: int = 7,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        if window_size < 1:
            raise ValueError(f"window_size must be at least 1, got {window_size}")
        if channels < HEADS[0] or channels % HEADS[0]:
            raise ValueError(f"channels must be a multiple of {HEADS[0]}, the heads of the first stage, got {channels}")
        self.in_channels = in_channels
        self.stride = PATCH * 2 ** (len(HEADS) - 1)
        widths = [channels * 2**i for i in range(len(HEADS))]
        rates = [drop_path * i / (len(HEADS) * DEPTH - 1) for i in range(len(HEADS) * DEPTH)]

        def stages(order: Iterable[int]) -> nn.ModuleList:
            blocks = [_stage(widths[i], HEADS[i], window_size, rates[DEPTH * i : DEPTH * (i + 1)]) for i in order]
            return nn.ModuleList(blocks)

        self.embed = nn.Conv2d(in_channels, channels, kernel_size=PATCH, stride=PATCH)
        self.embed_norm = nn.LayerNorm(channels)
        self.encoder = stages(range(len(HEADS)))
        self.merge = nn.ModuleList([PatchMerging(width) for width in widths[:-1]])
        self.norm = nn.LayerNorm(widths[-1])
        self.deepest = nn.Identity()  # a name for the deepest features, channels first
        self.expand = nn.ModuleList([PatchExpanding(width, width // 2) for width in reversed(widths[1:])])
        self.join = nn.ModuleList([nn.Linear(2 * width, width) for width in reversed(widths[:-1])])
        self.decoder = stages(reversed(range(len(HEADS) - 1)))
        self.decoder_norm = nn.LayerNorm(channels)
        self.final_expand = PatchExpanding(channels, channels, scale=PATCH)
        self.head = nn.Conv2d(channels, out_channels, kernel_size=1, bias=False)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits at the input's size."""
        check_input(x, 2, self.in_channels, self.stride)
        y = self.embed(pad_to_multiple(x, self.stride)).permute(0, 2, 3, 1)  # (b, h/4, w/4, c)
        y = self.embed_norm(y)
        skips: list[torch.Tensor] = []  # what enters each stage
        for stage, merge in zip(self.encoder, self.merge):  # noqa: B905 - TorchScript has no `strict`
            skips.append(y)
            y = merge(stage(y))
        y = self.norm(self.encoder[-1](y))  # (b, h/32, w/32, 8c)
        y = self.deepest(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        for i, (expand, join, stage) in enumerate(zip(self.expand, self.join, self.decoder)):  # noqa: B905
            y = stage(join(torch.cat([expand(y), skips[-1 - i]], dim=-1)))
        y = self.final_expand(self.decoder_norm(y)).permute(0, 3, 1, 2)  # (b, c, h, w)
        return crop_like(self.head(y), x)


def _stage(channels: int, heads: int, window_size: int, rates: Sequence[float]) -> nn.Module:
    """Build the blocks of a stage, every second of which is shifted."""
    return nn.Sequential(*(SwinBlock(channels, heads, window_size, i % 2 == 1, rate) for i, rate in enumerate(rates)))
