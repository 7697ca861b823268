"""Speckle, blur and lower resolution of an image in [0, 1], as functions and as an augmentation."""

from __future__ import annotations

import numpy as np
import torch
from monai.transforms import Resize
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

# of the blur that makes grains, in depth and across, as fractions of the long side: about 4 and 6 pixels of 512
_GRAIN = (0.0024, 0.004)


def speckled(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Multiply an image by speckle of mean 1.

    Args:
        image: (channels, H, W).
        share: fraction of fully developed speckle (Rayleigh-distributed amplitude) in the factor; the rest is 1.
        generator: of the random echoes.

    Returns:
        The image, of the same shape.
    """
    size = image.shape[1:]
    waves = generator.standard_normal((2, *size))  # real and imaginary part of the echoes
    amplitude = np.hypot(*ndimage.gaussian_filter(waves, (0, *(blur * max(size) for blur in _GRAIN)), mode="wrap"))
    return image * (1 + share * (amplitude / amplitude.mean() - 1))


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an image with its border replicated, where MONAI's `GaussianSmooth` pads with black.

    Args:
        image: (channels, H, W).
        sigma: of the Gaussian, in pixels.

    Returns:
        The image, of the same shape.
    """
    return ndimage.gaussian_filter(image, (0, sigma, sigma), mode="nearest")


def downscaled(image: np.ndarray, share: float) -> np.ndarray:
    """Downsample an image by area averaging, and upsample it again bilinearly.

    Args:
        image: (channels, H, W).
        share: size of the small image as a fraction of the original.

    Returns:
        The image, of the same shape.
    """
    size = image.shape[1:]
    small = Resize([max(1, round(share * side)) for side in size], mode="area")(image)
    return np.asarray(Resize(size, mode="bilinear")(small))


class RandomSpeckle(nn.Module):
    """Multiply images of a batch by noise of mean 1, each with its own strength.

    The noise is Gaussian, averaged over 3x3 windows so that its grains are larger than a pixel, as in an image that was
    interpolated to the screen, and rescaled to the chosen standard deviation.

    Args:
        strength: lowest and highest standard deviation of the factor.
        p: probability that an image is changed.

    Shape:
        - input: (B, C, H, W), values from 0
        - output: the same; all channels of an image get the same noise

    Raises:
        ValueError: `strength` is not a range of positive numbers, or `p` is not a probability.
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
        batch, height, width = x.shape[0], x.shape[2], x.shape[3]
        strength = torch.rand(batch, 1, 1, 1, device=x.device, dtype=x.dtype) * (self.high - self.low) + self.low
        strength = strength * (torch.rand(batch, 1, 1, 1, device=x.device, dtype=x.dtype) < self.p)
        noise = torch.randn(batch, 1, height + 2, width + 2, device=x.device, dtype=x.dtype)
        grains = F.avg_pool2d(noise, 3, stride=1) * 3  # the mean of 9 values has a third of their deviation
        return x * (1 + strength * grains).clamp_min(0)
