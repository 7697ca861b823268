"""An edge map of an image: the magnitude of its Gaussian derivatives."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

TRUNCATE = 4.0  # radius of a kernel in sigmas, as in scipy


class GaussianDerivativeMagnitude(Transform):
    """Compute `m = sqrt(gx² + gy²)`, the gradient magnitude of an image smoothed by a Gaussian.

    Channels are processed separately, by separable convolution on the device of the image. The values are those of
    `scipy.ndimage.gaussian_gradient_magnitude` with its defaults: the kernel is truncated at `round(4 sigma)` pixels,
    and the border mode is "reflect" (`d c b a | a b c d | d c b a`).

    Reference:
        Y. Lu et al., Front Oncol 15:1567577 (2025), eq. 6-9 (eq. 6 lacks the minus of the exponent).

    Args:
        sigma: standard deviation of the Gaussian in pixels.
        normalize: scale the derivatives so that a straight step of height h along an axis gives the value h beside
            it for any `sigma`: an image in [0, 1] then has edges in about [0, 1]. False returns grey values per pixel.

    Shape:
        - Input: (C, H, W); array, tensor or MetaTensor
        - Output: the same shape and type; integers become float32. Half precision is computed in float32.

    Raises:
        ValueError: `sigma` is so small that its kernel is a single pixel; at the call, the image is narrower than the
            kernel.

    Deviation:
        The paper does not scale m. For an image in [0, 1] it is at most about `0.4 / sigma`, and mostly far below, so
        an untrained network hardly responds to this channel; `normalize`, off by default, avoids this.
    """

    backend: ClassVar = [TransformBackends.TORCH]

    def __init__(self, sigma: float, normalize: bool = False) -> None:
        if not (math.isfinite(sigma) and _radius(sigma) >= 1):
            raise ValueError(f"sigma must be at least {0.5 / TRUNCATE} pixels, got {sigma}")
        self.sigma = sigma
        self.normalize = normalize

    def __call__(self, image: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
        """Return the magnitude, with the metadata of `image` if it has any."""
        tensor = convert_to_tensor(image, track_meta=False)
        width = 2 * _radius(self.sigma) + 1
        if tensor.ndim != 3 or width > min(tensor.shape[1:]):
            raise ValueError(
                "the image must be (C, H, W) and at least as large as the "
                f"kernel of {width} pixels of sigma {self.sigma}, got shape {tuple(tensor.shape)}"
            )
        dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
        grey = tensor.to(torch.promote_types(dtype, torch.float32))
        gaussian, derivative = _kernels(self.sigma, self.normalize)
        down = _correlate(_correlate(grey, derivative, 1), gaussian, 2)
        across = _correlate(_correlate(grey, gaussian, 1), derivative, 2)
        magnitude = (down.square() + across.square()).sqrt()
        return convert_to_dst_type(magnitude.to(dtype), image, dtype=dtype)[0]


class GaussianDerivativeMagnituded(MapTransform):
    """Dictionary form of `GaussianDerivativeMagnitude`, which adds the edges to the image: (C, H, W) to (2C, H, W).

    It does not change the geometry and records nothing, so `Invertd` skips it.
    """

    backend: ClassVar = GaussianDerivativeMagnitude.backend

    def __init__(self, keys: KeysCollection, sigma: float, normalize: bool = False) -> None:
        super().__init__(keys)
        self.magnitude = GaussianDerivativeMagnitude(sigma, normalize)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the edges of each image after its channels."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            joined = torch.cat([convert_to_tensor(part, track_meta=False) for part in (image, self.magnitude(image))])
            result[key] = convert_to_dst_type(joined, image, dtype=joined.dtype)[0]
        return result


def _radius(sigma: float) -> int:
    return int(TRUNCATE * sigma + 0.5)


def _kernels(sigma: float, normalize: bool) -> tuple[list[float], list[float]]:
    """Return the Gaussian, of sum 1, and its derivative as a correlation kernel (positive on a rising ramp)."""
    x = np.arange(-_radius(sigma), _radius(sigma) + 1)
    gaussian = np.exp(-(x**2) / (2 * sigma**2))
    gaussian /= gaussian.sum()
    derivative = x / sigma**2 * gaussian
    if normalize:
        derivative /= derivative[x > 0].sum()
    return gaussian.tolist(), derivative.tolist()


def _correlate(image: torch.Tensor, kernel: list[float], axis: int) -> torch.Tensor:
    """Return `image` correlated with `kernel` along `axis`, mirrored at the border, in the same shape.

    It sums shifted images: for one channel this is faster than torch's convolutions, and neither TF32 nor autocast
    rounds it on a GPU.
    """
    radius, size = len(kernel) // 2, image.shape[axis]
    first, last = image.narrow(axis, 0, radius), image.narrow(axis, size - radius, radius)
    padded = torch.cat([first.flip(axis), image, last.flip(axis)], dim=axis)
    result = padded.narrow(axis, 0, size) * kernel[0]
    for shift, weight in enumerate(kernel[1:], start=1):
        result.add_(padded.narrow(axis, shift, size), alpha=weight)
    return result
