"""Spatial feature enhancement block (SFEB)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hybrid_attention.networks.blocks.convolutions import check_training_batch, conv_norm_act
from monai.networks.layers import Pool
from torch import nn

SFEB_POOLINGS = ("local", "global")


class WindowMean(nn.Module):
    """Average over 3x3 windows with stride 1, without the padding.

    It equals average pooling with `padding=1, count_include_pad=False`, which in three dimensions PyTorch does not
    support for maps smaller than the window, such as a bottleneck's.

    Shape:
        - input and output: (batch, channels, *spatial), any size
    """

    def __init__(self, spatial_dims: int) -> None:
        super().__init__()
        self.border = [1, 1] * spatial_dims
        self.pool = Pool[Pool.AVG, spatial_dims](kernel_size=3, stride=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the local means."""
        inside = torch.ones_like(x[:1, :1])  # (1, 1, *spatial)
        return self.pool(F.pad(x, self.border)) / self.pool(F.pad(inside, self.border))


class SFEB(nn.Module):
    """Enhance features by fused max and average pooling under a channel gate, with a residual connection.

    `I1 = CB3x3(I)`, `P = concat(maxpool(I1), avgpool(I1))`, `Fc = CB3x3(P)`, `Fcc = sigmoid(BN(conv1x1(GAP(I))))`,
    output `Fc * Fcc + I`. In two dimensions the block has `28 C² + 9 C` trainable parameters.

    Reference:
        M. A. Aslam, A. Naveed, N. Ahmed, "Hybrid Attention Network for Accurate Breast Tumor Segmentation in
        Ultrasound Images", arXiv:2506.16592, figure 3 and eq. 6-15.

    Args:
        pooling: "local" pools over 3x3 windows with stride 1; "global" pools to one value per channel.

    Shape:
        - input and output: (batch, channels, *spatial)

    Raises:
        ValueError: a training batch has one item.

    Deviation:
        The paper calls both pools "global" (eq. 8, 9). Global pools would leave one constant per channel without
        spatial information, and only padding around it for the following 3x3 convolution, so "local" is the default
        and `pooling="global"` the literal reading. The parameter counts of table 2 fit both. Certainty of the rest of
        the block: about 95 %, because those counts agree exactly. Local average pooling excludes padding from the mean,
        as Keras does. The gate normalises a 1x1 map over the batch, as printed, which is impossible for a training
        batch of one.
    """

    def __init__(self, spatial_dims: int, channels: int, pooling: str = "local") -> None:
        super().__init__()
        if pooling not in SFEB_POOLINGS:
            raise ValueError(f"pooling must be one of {SFEB_POOLINGS}, got {pooling!r}")
        self.conv = conv_norm_act(spatial_dims, channels, channels)  # eq. 7
        if pooling == "local":
            self.max_pool = Pool[Pool.MAX, spatial_dims](kernel_size=3, stride=1, padding=1)
            self.avg_pool = WindowMean(spatial_dims)
        else:
            self.max_pool = Pool[Pool.ADAPTIVEMAX, spatial_dims](1)
            self.avg_pool = Pool[Pool.ADAPTIVEAVG, spatial_dims](1)
        self.fuse = conv_norm_act(spatial_dims, 2 * channels, channels)  # eq. 11
        self.squeeze = Pool[Pool.ADAPTIVEAVG, spatial_dims](1)  # eq. 12
        self.gate = conv_norm_act(spatial_dims, channels, channels, kernel_size=1, act="sigmoid")  # eq. 13

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the enhanced features."""
        check_training_batch(x, self.training, "SFEB")
        features = self.conv(x)
        pooled = torch.cat([self.max_pool(features), self.avg_pool(features)], dim=1)  # (b, 2c, *spatial), eq. 10
        return self.fuse(pooled) * self.gate(self.squeeze(x)) + x  # eq. 14, 15
