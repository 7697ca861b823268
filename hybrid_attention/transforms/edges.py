"""An edge map of an image: the magnitude of its Gaussian derivatives."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor, ensure_tuple, ensure_tuple_rep

TRUNCATE = 4.0  # radius of a kernel in sigmas, as in scipy


class GaussianDerivativeMagnitude(Transform):
    """Compute `m = sqrt(gx² + gy² [+ gz²])`, the gradient magnitude of the image smoothed by a Gaussian.

    Channels are processed separately, by separable convolution on the device of the image. The values are those of
    `scipy.ndimage.gaussian_gradient_magnitude` with its defaults: the kernel is truncated at `round(4 sigma)` pixels,
    and the border mode is "reflect" (`d c b a | a b c d | d c b a`).

    Reference:
        Y. Lu et al., Front Oncol 15:1567577 (2025), eq. 6-9 (eq. 6 lacks the minus of the exponent).

    Args:
        sigma: standard deviation of the Gaussian in pixels; one value, or one for each spatial axis.
        normalize: scale the derivatives so that a straight step of height h along an axis gives the value h beside
            it for any `sigma`: an image in [0, 1] then has edges in about [0, 1]. False returns grey values per pixel.

    Shape:
        - Input: (C, spatial…), one to three spatial axes, any number of channels; array, tensor or MetaTensor
        - Output: the same shape and type; types other than float16, bfloat16, float32 and float64 become float32. Half
          precision is computed in float32.

    Raises:
        ValueError: `sigma` is not a number above 0, or so small that its kernel is a single pixel; at the call, the
            image does not have one to three spatial axes or as many as `sigma`, or is narrower than the kernel.

    Deviation:
        The paper does not scale m. For an image in [0, 1] it is at most about `0.4 / sigma`, and mostly far below, so
        an untrained network hardly responds to this channel; `normalize`, off by default, avoids this.
    """

    backend: ClassVar = [TransformBackends.TORCH]

    def __init__(self, sigma: float | Sequence[float], normalize: bool = False) -> None:
        self.sigma = tuple(float(value) for value in ensure_tuple(sigma))
        self.normalize = normalize
        if not self.sigma or not all(value > 0 and math.isfinite(value) for value in self.sigma):
            raise ValueError(f"sigma must be a finite number of pixels above 0, got {sigma}")
        if any(_radius(value) < 1 for value in self.sigma):
            raise ValueError(f"sigma must be at least {0.5 / TRUNCATE}, or its kernel is a single pixel, got {sigma}")

    def __call__(self, image: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
        """Return the magnitude, with the metadata of `image` if it has any."""
        tensor = convert_to_tensor(image, track_meta=False)
        sigmas = self._sigmas_for(tuple(tensor.shape))
        dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
        smooth = tensor.to(torch.promote_types(dtype, torch.float32))
        gradients: list[torch.Tensor] = []  # d/dx, d/dy, … of the image smoothed along the axes so far, (C, spatial…)
        for axis, sigma in enumerate(sigmas, start=1):
            gaussian, derivative = _kernels(sigma, self.normalize)
            gradients = [_correlate(gradient, gaussian, axis) for gradient in gradients]
            gradients.append(_correlate(smooth, derivative, axis))
            if axis < len(sigmas):
                smooth = _correlate(smooth, gaussian, axis)
        squares = gradients[0].square()
        for gradient in gradients[1:]:
            squares = squares + gradient.square()
        return convert_to_dst_type(squares.sqrt().to(dtype), image, dtype=dtype)[0]

    def _sigmas_for(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        spatial = shape[1:]
        if len(spatial) not in (1, 2, 3):
            raise ValueError(f"the image must be (channel, spatial…) with one to three spatial axes, got shape {shape}")
        sigmas = self.sigma * len(spatial) if len(self.sigma) == 1 else self.sigma
        if len(sigmas) != len(spatial):
            raise ValueError(f"{len(sigmas)} sigmas {self.sigma} do not fit the {len(spatial)} spatial axes of {shape}")
        for axis, (size, sigma) in enumerate(zip(spatial, sigmas, strict=True)):
            width = 2 * _radius(sigma) + 1
            if width > size:
                raise ValueError(
                    f"sigma {sigma} has a kernel of {width} pixels, wider than spatial axis {axis} of {size} pixels "
                    f"(image of shape {shape}); use a smaller sigma or a larger image"
                )
        return sigmas


class GaussianDerivativeMagnituded(MapTransform):
    """Dictionary form of `GaussianDerivativeMagnitude`: the edges become new channels of the image, or a new item.

    It does not change the geometry and records nothing, so `Invertd` skips it. A bundle can disable it with
    `_disabled_: "$not @edge_channel"`.

    Args:
        keys: keys of the images.
        sigma: see `GaussianDerivativeMagnitude`.
        new_keys: None appends the edges to the image's channels, (C, spatial…) to (2C, spatial…): image, then edges.
            Otherwise one key per entry of `keys` for the edges; the images are not changed.
        normalize: see `GaussianDerivativeMagnitude`.
        allow_missing_keys: leave a dictionary without the key unchanged.

    Raises:
        ValueError: `new_keys` differ in number from `keys`, or are not distinct. Also the errors of
            `GaussianDerivativeMagnitude`.
    """

    backend: ClassVar = GaussianDerivativeMagnitude.backend

    def __init__(
        self,
        keys: KeysCollection,
        sigma: float | Sequence[float],
        new_keys: KeysCollection | None = None,
        normalize: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.magnitude = GaussianDerivativeMagnitude(sigma, normalize)
        self.new_keys: tuple[Hashable | None, ...] = (
            ensure_tuple_rep(None, len(self.keys)) if new_keys is None else ensure_tuple(new_keys)
        )
        if new_keys is not None and not len(set(self.new_keys)) == len(self.new_keys) == len(self.keys):
            raise ValueError(f"new_keys must be one distinct key for each of {self.keys}, got {self.new_keys}")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the edges of each key."""
        result = dict(data)
        for key, new_key in self.key_iterator(result, self.new_keys):
            image = result[key]
            edges = self.magnitude(image)
            if new_key is None:
                result[key] = _joined(image, edges)
            else:
                result[new_key] = edges
        return result


def _joined(image: torch.Tensor | np.ndarray, edges: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
    """Return both as channels of one image, with the metadata of `image`: 2 x (C, spatial…) -> (2C, spatial…)."""
    joined = torch.cat([convert_to_tensor(part, track_meta=False) for part in (image, edges)])
    return convert_to_dst_type(joined, image, dtype=joined.dtype)[0]


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
