"""Object-contextual attention (OCA): each pixel attends to regions that may be objects."""

from __future__ import annotations

import torch
from hybrid_attention.networks.blocks.convolutions import conv_group_norm
from torch import nn


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
