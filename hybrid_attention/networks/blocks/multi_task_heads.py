"""Heads of networks that segment and classify."""

from __future__ import annotations

import torch
from monai.networks.layers import Conv, Pool
from torch import nn


def region_head(spatial_dims: int, in_channels: int, num_regions: int) -> nn.Module:
    """Build the 1x1 convolution that predicts the logits of the regions, the background included."""
    if num_regions < 2:
        raise ValueError(f"num_regions must be at least 2 (background and lesion), got {num_regions}")
    return Conv[Conv.CONV, spatial_dims](in_channels, num_regions, kernel_size=1)


def class_head(spatial_dims: int, in_channels: int, num_classes: int | None) -> nn.Module:
    """Build the head that predicts the logits of the classes, or for None one that returns None."""
    if num_classes is None:
        return NoClassifier()
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, or None for no class head, got {num_classes}")
    return PooledClassifier(spatial_dims, in_channels, num_classes)


class PooledClassifier(nn.Module):
    """Classify by a two-layer perceptron on mean and maximum of each channel.

    The hidden layer has C units: `2 C² + C + C classes + classes` trainable parameters. The maximum is used because
    group norm makes the means nearly constant: from them alone the classes are hardly learned in a short training.

    Shape:
        - input: (batch, in_channels, *spatial), any size
        - output: (batch, num_classes), logits
    """

    def __init__(self, spatial_dims: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.mean = Pool[Pool.ADAPTIVEAVG, spatial_dims](1)
        self.maximum = Pool[Pool.ADAPTIVEMAX, spatial_dims](1)
        self.mlp = nn.Sequential(
            nn.Linear(2 * in_channels, in_channels), nn.ReLU(inplace=True), nn.Linear(in_channels, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of the classes."""
        pooled = torch.cat([self.mean(x), self.maximum(x)], dim=1)  # (b, c, *spatial) -> (b, 2c, 1..)
        return self.mlp(pooled.flatten(1))  # (b, 2c) -> (b, classes)


class NoClassifier(nn.Module):
    """Return None, in place of a class head."""

    def forward(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return None."""
        return None
