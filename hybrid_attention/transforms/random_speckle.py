"""Speckle, the noise of ultrasound: it multiplies the signal."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class RandomSpeckle(nn.Module):
    """Multiply images of a batch by noise of mean 1, each with its own strength.

    The noise is Gaussian, blurred by a 3 wide window so that its grains are larger than a pixel, as they are in an
    image that was interpolated to the screen, and brought back to the chosen standard deviation.

    Args:
        strength: least and largest standard deviation of the factor.
        p: probability that an image is changed.

    Shape:
        - input: (B, C, W, H), values from 0
        - output: the same; all channels of an image meet the same noise

    Raises:
        ValueError: the range is no range of positive numbers, or `p` no probability.
    """

    def __init__(self, strength: tuple[float, float] = (0.05, 0.3), p: float = 0.5) -> None:
        super().__init__()
        low, high = strength
        if not 0 <= low <= high:
            raise ValueError(f"strength must be two numbers from 0, the smaller first, got {strength}.")
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability from 0 to 1, got {p}.")
        self.low, self.high, self.p = float(low), float(high), float(p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images with speckle."""
        batch, width, height = x.shape[0], x.shape[2], x.shape[3]
        strength = torch.rand(batch, 1, 1, 1, device=x.device, dtype=x.dtype) * (self.high - self.low) + self.low
        strength = strength * (torch.rand(batch, 1, 1, 1, device=x.device, dtype=x.dtype) < self.p)
        noise = torch.randn(batch, 1, width + 2, height + 2, device=x.device, dtype=x.dtype)
        grains = F.avg_pool2d(noise, 3, stride=1) * 3  # the mean of 9 values has a third of their deviation
        return x * (1 + strength * grains).clamp_min(0)
