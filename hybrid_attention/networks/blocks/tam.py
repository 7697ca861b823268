"""Transformer attention module (TAM): attention between channels and attention between positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hybrid_attention.networks.blocks.convolutions import conv_norm_act
from monai.networks.layers import Conv
from torch import nn

REFERENCE_GRID = 16  # a 256 wide image at stride 16
TSA_SCALES = ("positions", "channels")


class AxialPositionEmbedding(nn.Module):
    """Add a learned position embedding, whose channels are divided among the spatial axes.

    In two dimensions the first half of the channels depends on the row only and the second half on the column only.

    Args:
        channels: those of the features; if not divisible, the first axes have one more.
        grid: number of learned positions along each axis; other sizes are interpolated linearly.

    Shape:
        - input and output: (batch, channels, *spatial), any size
    """

    def __init__(self, spatial_dims: int, channels: int, grid: int = REFERENCE_GRID) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        widths = [channels // spatial_dims + (axis < channels % spatial_dims) for axis in range(spatial_dims)]
        self.axes = nn.ParameterList([nn.Parameter(torch.empty(1, width, grid)) for width in widths])
        for axis in self.axes:
            nn.init.normal_(axis, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` with the position added."""
        parts: list[torch.Tensor] = []
        for i, axis in enumerate(self.axes):
            line = F.interpolate(axis, size=[x.shape[i + 2]], mode="linear", align_corners=False)  # (1, c_i, n_i)
            for before in range(i):
                line = line.unsqueeze(2 + before)  # (1, c_i, 1.., n_i)
            for _ in range(i + 1, self.spatial_dims):
                line = line.unsqueeze(-1)  # (1, c_i, 1.., n_i, 1..)
            parts.append(line.expand_as(x[:1, : line.shape[1]]))  # (1, c_i, *spatial)
        return x + torch.cat(parts, dim=1)  # (b, c, *spatial)


class TSA(nn.Module):
    """Transformer self-attention between the channels: `softmax(Q K^T / sqrt(d_k)) V` with a c x c map.

    Reference:
        arXiv:2506.16592, eq. 1-4; its cited source is B. Chen et al., "TransAttUnet", arXiv:2107.05274.

    Args:
        num_heads: number of heads, which divides `channels`; each attends between its share of the channels.
        scale: d_k of the equation: "positions" (h·w) or "channels" (those of a head).

    Shape:
        - input and output: (batch, channels, *spatial)

    Deviation:
        The paper does not define d_k. A row of K has one entry per position, so the dot product is over h·w entries and
        d_k = h·w is the default: with uncorrelated entries the variance of the logits then does not depend on the image
        size. The source's published code has d_k = c. With 64 channels both are equal for images of 128 pixels; for 256
        pixels they differ by a factor of two. The text says multi-head, the equations and the c x c map have one head.
    """

    def __init__(self, spatial_dims: int, channels: int, num_heads: int = 1, scale: str = "positions") -> None:
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise ValueError(f"channels must be a multiple of num_heads, got {channels} and {num_heads}")
        if scale not in TSA_SCALES:
            raise ValueError(f"scale must be one of {', '.join(TSA_SCALES)}, got {scale!r}")
        conv = Conv[Conv.CONV, spatial_dims]
        self.query = conv(channels, channels, kernel_size=1, bias=False)
        self.key = conv(channels, channels, kernel_size=1, bias=False)
        self.value = conv(channels, channels, kernel_size=1, bias=False)
        self.num_heads = num_heads
        # None: 1 / sqrt(n)
        self.scale: float | None = None if scale == "positions" else (channels // num_heads) ** -0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return each channel as a mixture of the channels of its head."""
        shape = (x.shape[0], self.num_heads, x.shape[1] // self.num_heads, -1)
        q = self.query(x).reshape(shape)  # (b, c, *spatial) -> (b, heads, c / heads, n), n = h·w
        k = self.key(x).reshape(shape)
        v = self.value(x).reshape(shape)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)  # map (c / heads, c / heads)
        return mixed.reshape(x.shape)  # (b, heads, c / heads, n) -> (b, c, *spatial)


class GSA(nn.Module):
    """Global spatial attention between the positions, with an (h·w) x (h·w) map.

    Reference:
        arXiv:2506.16592, eq. 5.

    Args:
        num_heads: number of heads; each has its share of the embeddings' `channels / 2`.

    Shape:
        - input and output: (batch, channels, *spatial)

    Deviation:
        The text says "scaled dot product", but eq. 5 has no scale: here it is 1 / sqrt(c / 2) for one head. Eq. 5 ends
        with the map; here it weights F^c, the one embedding of the text that no equation uses.
    """

    def __init__(self, spatial_dims: int, channels: int, num_heads: int = 1) -> None:
        super().__init__()
        if num_heads < 1 or channels % (2 * num_heads):
            raise ValueError(f"channels must be a multiple of 2 * num_heads, got {channels} and {num_heads}")
        self.value = conv_norm_act(spatial_dims, channels, channels, kernel_size=1)  # F^c
        self.query = conv_norm_act(spatial_dims, channels, channels // 2, kernel_size=1)  # F1^cc
        self.key = conv_norm_act(spatial_dims, channels, channels // 2, kernel_size=1)  # F2^cc
        self.num_heads = num_heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return each position as a mixture of all positions."""
        q = self._heads(self.query(x))  # (b, heads, n, c / 2 / heads)
        k = self._heads(self.key(x))
        v = self._heads(self.value(x))  # (b, heads, n, c / heads)
        mixed = F.scaled_dot_product_attention(q, k, v)  # map (n, n)
        return mixed.transpose(2, 3).reshape(x.shape)  # (b, heads, n, c / heads) -> (b, c, *spatial)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], self.num_heads, x.shape[1] // self.num_heads, -1).transpose(2, 3)


class TAM(nn.Module):
    """Combine channel attention, spatial attention and the input, at a reduced width.

    `R = CB1x1(F)`, output `CB1x1(concat(TSA(R + position), GSA(R), R))`. With 256 channels, inner width 64 and a grid
    of 16 in two dimensions it has 88,384 trainable parameters: 16,576 + 1,024 + 12,288 + 8,576 + 49,920.

    Reference:
        M. A. Aslam, A. Naveed, N. Ahmed, "Hybrid Attention Network for Accurate Breast Tumor Segmentation in
        Ultrasound Images", arXiv:2506.16592, section 3.1 and figure 2.

    Args:
        inner_channels: number of channels of both attentions; even.
        grid: number of learned positions along each axis.

    Shape:
        - input and output: (batch, in_channels, *spatial), any size

    Deviation:
        This module is about 50 % certain: the paper gives no widths, and other arrangements have the same parameter
        count. The text mentions a concatenated position and multi-head attention; here the embeddings of row and column
        are concatenated and added to the features, and there is one head unless `num_heads` says otherwise; the number
        of parameters is the same.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 256,
        inner_channels: int = 64,
        grid: int = REFERENCE_GRID,
        num_heads: int = 1,
        tsa_scale: str = "positions",
    ) -> None:
        super().__init__()
        self.reduce = conv_norm_act(spatial_dims, in_channels, inner_channels, kernel_size=1)
        self.position = AxialPositionEmbedding(spatial_dims, inner_channels, grid)
        self.tsa = TSA(spatial_dims, inner_channels, num_heads, tsa_scale)
        self.gsa = GSA(spatial_dims, inner_channels, num_heads)
        self.expand = conv_norm_act(spatial_dims, 3 * inner_channels, in_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the attended features."""
        reduced = self.reduce(x)  # (b, inner, *spatial)
        attended = [self.tsa(self.position(reduced)), self.gsa(reduced), reduced]
        return self.expand(torch.cat(attended, dim=1))  # (b, 3 inner, *spatial) -> (b, in_channels, *spatial)
