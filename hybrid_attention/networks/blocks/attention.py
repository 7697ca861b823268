"""Published attention blocks: CBAM, non-local and object-contextual attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hybrid_attention.networks.blocks.convolutions import conv_group_norm
from monai.networks.layers import Conv
from torch import nn


class ChannelGate(nn.Module):
    """Scale each channel by `sigmoid(MLP(mean(x)) + MLP(max(x)))`, with one MLP for both.

    See `CBAM`, eq. 2 of its paper.
    """

    def __init__(self, spatial_dims: int, channels: int, reduction: int = 8) -> None:
        super().__init__()
        if channels % reduction:
            raise ValueError(f"channels must be a multiple of reduction={reduction}, got {channels}")
        conv = Conv[Conv.CONV, spatial_dims]
        self.axes = list(range(2, 2 + spatial_dims))
        self.mlp = nn.Sequential(
            conv(channels, channels // reduction, kernel_size=1, bias=False),
            nn.ReLU(inplace=True),
            conv(channels // reduction, channels, kernel_size=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated features."""
        return x * self.coefficients(x)

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gate of each channel, (b, c, 1..), from 0 to 1."""
        mean = x.mean(dim=self.axes, keepdim=True)  # (b, c, *spatial) -> (b, c, 1..)
        peak = x.amax(dim=self.axes, keepdim=True)  # (b, c, 1..)
        return torch.sigmoid(self.mlp(mean) + self.mlp(peak))


class SpatialGate(nn.Module):
    """Scale each position by `sigmoid(conv7(concat(mean, max)))`, both taken over the channels.

    See `CBAM`, eq. 3 of its paper.
    """

    def __init__(self, spatial_dims: int) -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](2, 1, kernel_size=7, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated features."""
        return x * self.coefficients(x)

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gate of each position, (b, 1, *spatial), from 0 to 1."""
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)  # (b, 2, *spatial)
        return torch.sigmoid(self.conv(summary))


class CBAM(nn.Module):
    """Apply a channel gate, then a spatial gate.

    In two dimensions it has `2 C² / reduction + 98` trainable parameters.

    Reference:
        S. Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv:1807.06521, eq. 1.

    Shape:
        - input and output: (batch, channels, *spatial), any size

    Deviation:
        Reduction 8 and the absence of biases and of a batch norm follow from the parameter counts of S. Anari et al.
        (doi:10.1038/s41598-024-84504-y, table 1); Woo et al. reduce by 16.
    """

    def __init__(self, spatial_dims: int, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.channel_gate = ChannelGate(spatial_dims, channels, reduction)
        self.spatial_gate = SpatialGate(spatial_dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated features."""
        return self.spatial_gate(self.channel_gate(x))


class NonLocal(nn.Module):
    """Embedded Gaussian non-local block: `W(softmax(θ(x)ᵀ φ(x)) g(x)) + x`, over all n positions.

    It has `2 C² + 5 C / 2` trainable parameters.

    The n x n map is never stored: `scaled_dot_product_attention` computes it in tiles, forward and backward, in float32
    and in half precision, so memory is linear in n. A training step of the block with batch size 16, 64 channels and
    56 x 56 positions took 171 MiB on a CPU (115 MiB in bfloat16); with the map stored, 1,905 MiB (1,000 MiB).

    Reference:
        X. Wang, R. Girshick, A. Gupta, K. He, "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971, eq. 1-6.

    Shape:
        - input and output: (batch, channels, *spatial), any size

    Deviation:
        No batch norm, according to the parameter counts of S. Anari et al. (doi:10.1038/s41598-024-84504-y, table 1). W
        is not initialised with zeros, which is for blocks added to a trained network; this one is trained with its
        decoder.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.theta = conv(channels, channels // 2, kernel_size=1)
        self.phi = conv(channels, channels // 2, kernel_size=1)
        self.g = conv(channels, channels // 2, kernel_size=1)
        self.w = conv(channels // 2, channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features with the mixture added."""
        value = self.g(x)  # (b, c/2, *spatial)
        mixed = F.scaled_dot_product_attention(
            positions_first(self.theta(x)), positions_first(self.phi(x)), positions_first(value), scale=1.0
        )  # (b, 1, n, c/2); map (n, n)
        mixed = mixed.squeeze(1).transpose(1, 2).reshape(value.shape)  # (b, n, c/2) -> (b, c/2, n) -> like value
        return x + self.w(mixed)


def positions_first(x: torch.Tensor) -> torch.Tensor:
    """Return (batch, 1, positions, channels), contiguous, which attention without a stored map requires."""
    return x.flatten(2).transpose(1, 2).unsqueeze(1).contiguous()  # (b, c, n) -> (b, n, c) -> (b, 1, n, c)


class ObjectContext(nn.Module):
    """Represent each region by its pixels, and each pixel by the regions that it resembles.

    With the features x_i of pixel i and the logits of K region maps:

    - `f_k = sum_i d_ki x_i`, d_k the softmax of map k over all pixels (eq. 1)
    - `w_ik = softmax over k of φ(x_i) · ψ(f_k) / sqrt(C / 2)` (eq. 2)
    - `y_i = δ(sum_k w_ik H(f_k))` (eq. 3)

    φ, ψ and H are 1x1 convolutions from C to C / 2 channels and δ is one back to C, each with group norm and ReLU. The
    block has `2 C² + 15 C / 2` trainable parameters. Memory is linear in the number of pixels times K.

    Reference:
        Y. Lu et al., "Automatic joint segmentation and classification of breast ultrasound images via multi-task
        learning with object contextual attention", Frontiers in Oncology 15, 1567577 (2025),
        doi:10.3389/fonc.2025.1567577, eq. 1-3; after Y. Yuan, X. Chen, J. Wang, "Object-Contextual Representations for
        Semantic Segmentation", ECCV 2020, arXiv:1909.11065.

    Args:
        channels: number of channels C; a multiple of 16.

    Shape:
        - input: features (batch, channels, *spatial) and logits of the regions (batch, regions, *spatial)
        - output: (batch, channels, *spatial)

    Deviation:
        Eq. 1 does not define how d is normalised, and eq. 2 not what l is: both are as in the ECCV paper, whose
        transforms have 256 channels for features of 512, hence C / 2. Each transform is one convolution (there φ and ψ
        have two). ψ and H process only K vectors per image, so their channels are normalised as one group.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        width = channels // 2
        self.scale = width**-0.5
        self.query = conv_group_norm(spatial_dims, channels, width, kernel_size=1)  # φ
        self.key = conv_group_norm(1, channels, width, kernel_size=1, groups=1)  # ψ
        self.value = conv_group_norm(1, channels, width, kernel_size=1, groups=1)  # H
        self.context = conv_group_norm(spatial_dims, width, channels, kernel_size=1)  # δ

    def forward(self, x: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        """Return the context of each pixel."""
        share = regions.flatten(2).softmax(dim=2)  # (b, K, *spatial) -> (b, K, n), each map sums to one
        region = torch.matmul(x.flatten(2), share.transpose(1, 2))  # (b, c, n) (b, n, K) -> (b, c, K), eq. 1
        query = self.query(x)  # (b, c/2, *spatial)
        likeness = torch.matmul(query.flatten(2).transpose(1, 2), self.key(region))  # (b, n, c/2) (b, c/2, K)
        relation = (likeness * self.scale).softmax(dim=2)  # (b, n, K), sums to one over the regions, eq. 2
        mixed = torch.matmul(self.value(region), relation.transpose(1, 2))  # (b, c/2, K) (b, K, n) -> (b, c/2, n)
        return self.context(mixed.reshape(query.shape))  # (b, c/2, *spatial) -> (b, c, *spatial), eq. 3
