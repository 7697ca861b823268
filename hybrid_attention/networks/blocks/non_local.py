"""Non-local block: attention between all positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers import Conv
from torch import nn


class NonLocal(nn.Module):
    """Embedded Gaussian non-local block: `W(softmax(θ(x)ᵀ φ(x)) g(x)) + x`, over all n positions.

    It has `2 C² + 5 C / 2` trainable parameters.

    The n x n map is never stored: `scaled_dot_product_attention` computes it in tiles, forward and backward, in float32
    and in half precision, so memory is linear in n. A training step of the block with batch size 16, 64 channels and
    56 x 56 positions took 171 MiB on a CPU (115 MiB in bfloat16); with the map stored, 1,905 MiB (1,000 MiB).

    Reference:
        X. Wang, R. Girshick, A. Gupta, K. He, "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971, eq. 1-6.

    Args:
        channels: number of channels C, in and out; even.

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
