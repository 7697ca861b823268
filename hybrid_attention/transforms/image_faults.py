"""Speckle, blur and lost pixels, each as a function of an image of 0 to 1."""

from __future__ import annotations

import numpy as np
from monai.transforms import Resize
from scipy import ndimage

# of the blur that makes grains, across the skin and into depth, as shares of the long side: some 6 and 4 pixels of 512
_GRAIN = (0.004, 0.0024)


def speckled(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Multiply an image by speckle of mean 1.

    Args:
        image: (channels, W, H).
        share: of fully developed speckle, whose amplitude follows Rayleigh's law, in the factor; the rest is 1.
        generator: draws the echoes.

    Returns:
        The image, of the same shape.
    """
    size = image.shape[1:]
    waves = generator.standard_normal((2, *size))  # real and imaginary part of the echoes
    amplitude = np.hypot(*ndimage.gaussian_filter(waves, (0, *(blur * max(size) for blur in _GRAIN)), mode="wrap"))
    return image * (1 + share * (amplitude / amplitude.mean() - 1))


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an image; beyond its border it goes on as it ends, where MONAI's `GaussianSmooth` would bring in black.

    Args:
        image: (channels, W, H).
        sigma: of the Gaussian, in pixels.

    Returns:
        The image, of the same shape.
    """
    return ndimage.gaussian_filter(image, (0, sigma, sigma), mode="nearest")


def downscaled(image: np.ndarray, share: float) -> np.ndarray:
    """Make an image smaller by the mean of areas, and large again, bilinear.

    Args:
        image: (channels, W, H).
        share: of its size that is left in between.

    Returns:
        The image, of the same shape.
    """
    size = image.shape[1:]
    small = Resize([max(1, round(share * side)) for side in size], mode="area")(image)
    return np.asarray(Resize(size, mode="bilinear")(small))
