"""scipy is the anchor for the values; steps, ramps and a three-pixel kernel are worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hybrid_attention.transforms import GaussianDerivativeMagnitude, GaussianDerivativeMagnituded
from scipy.ndimage import gaussian_gradient_magnitude


def noise(*shape, dtype=np.float32):
    return np.random.default_rng(0).random(shape).astype(dtype)


def by_scipy(image, sigma):
    return np.stack([gaussian_gradient_magnitude(channel.astype(np.float64), sigma) for channel in image])


@pytest.mark.parametrize(
    ("shape", "sigma"),
    [
        ((3, 9, 11), 1.0),  # the kernel is as wide as the image
        ((2, 48, 31), 3.3),
        ((4, 5, 6), 0.5),
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-13)])
def test_equals_scipy_up_to_the_border(shape, sigma, dtype, tolerance):
    image = noise(*shape, dtype=dtype)
    tensor = torch.from_numpy(image)
    magnitude = GaussianDerivativeMagnitude(sigma)(tensor)
    assert magnitude.shape == shape and magnitude.dtype == tensor.dtype
    np.testing.assert_allclose(magnitude.numpy(), by_scipy(image, sigma), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(tensor, noise(*shape, dtype=dtype))


@pytest.mark.parametrize("sigma", [0.5, 5.0])
@pytest.mark.parametrize("axis", [1, 2])
def test_normalized_a_step_has_its_height(sigma, axis):
    image = torch.zeros(1, 44, 44)
    image.narrow(axis, 22, 22).fill_(7.0)
    profile = GaussianDerivativeMagnitude(sigma, normalize=True)(image).movedim(axis, 0)[:, 0, 5]
    assert profile[[21, 22]].tolist() == pytest.approx([7, 7], rel=1e-5)
    assert profile.max() <= 7.0001
    assert profile[[0, -1]].tolist() == pytest.approx([0, 0], abs=1e-5)
    plain = GaussianDerivativeMagnitude(sigma)(image).movedim(axis, 0)[:, 0, 5]
    torch.testing.assert_close(profile / 7, plain / plain.max(), rtol=1e-5, atol=1e-6)


def test_neither_half_precision_nor_autocast_rounds():
    image = torch.from_numpy(noise(1, 30, 40)).half()
    expected = GaussianDerivativeMagnitude(2.0)(image.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(GaussianDerivativeMagnitude(2.0)(image), expected.half())
        assert torch.equal(GaussianDerivativeMagnitude(2.0)(image.float()), expected)


def test_edges_become_new_channels():
    whole = (noise(3, 20, 30) * 255).astype(np.uint8)  # arrays give arrays, and integers float32
    joined = GaussianDerivativeMagnituded("image", 1.0)({"image": whole})["image"]
    assert isinstance(joined, np.ndarray) and joined.dtype == np.float32
    np.testing.assert_allclose(joined, np.concatenate([whole, by_scipy(whole, 1.0)]), atol=1e-4)


@pytest.mark.parametrize("sigma", [0.1, math.nan])
def test_sigma_of_a_single_pixel(sigma):
    with pytest.raises(ValueError, match=rf"at least 0\.125 pixels, got {sigma}"):
        GaussianDerivativeMagnitude(sigma)
    assert GaussianDerivativeMagnitude(0.125)(np.eye(4)[None]).max() > 0


@pytest.mark.parametrize("shape", [(1, 30, 8), (30, 30)])
def test_images_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"kernel of 9 pixels of sigma 1\.0, got shape \("):
        GaussianDerivativeMagnitude(1.0)(np.zeros(shape, np.float32))
