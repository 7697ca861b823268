"""scipy is the anchor for the values; steps, ramps and a three-pixel kernel are worked out by hand."""

import math
import time

import numpy as np
import pytest
import torch
from hybrid_attention.data import GreyReader
from hybrid_attention.transforms import GaussianDerivativeMagnitude, GaussianDerivativeMagnituded
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, RandRotate90d, Resized
from scipy.ndimage import binary_dilation, gaussian_gradient_magnitude


def noise(*shape, dtype=np.float32):
    return np.random.default_rng(0).random(shape).astype(dtype)


def by_scipy(image, sigma):
    return np.stack([gaussian_gradient_magnitude(channel.astype(np.float64), sigma) for channel in image])


# ---- values --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("shape", "sigma"),
    [
        ((1, 40), 2.0),
        ((3, 9), 1.0),  # the kernel is as wide as the image
        ((1, 33, 48), 1.0),
        ((2, 48, 31), 3.3),
        ((1, 25, 25), 3),
        ((1, 40, 25), (0.7, 2.5)),
        ((4, 5, 6), 0.5),
        ((2, 15, 20, 17), 1.2),
        ((1, 9, 30, 22), (1.0, 2.0, 0.4)),
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-13)])
def test_equals_scipy_up_to_the_border(shape, sigma, dtype, tolerance):
    image = noise(*shape, dtype=dtype)
    magnitude = GaussianDerivativeMagnitude(sigma)(torch.from_numpy(image))
    assert magnitude.shape == shape
    assert magnitude.dtype == torch.from_numpy(image).dtype
    np.testing.assert_allclose(magnitude.numpy(), by_scipy(image, sigma), rtol=0, atol=tolerance)


def test_one_bright_pixel_under_a_kernel_of_three():
    tail = math.exp(-1 / (2 * 0.3**2))  # the Gaussian at one pixel from its middle, radius int(4 * 0.3 + 0.5) = 1
    middle, side = 1 / (1 + 2 * tail), tail / (1 + 2 * tail)
    slope = side / 0.3**2
    image = torch.zeros(1, 5, 5)
    image[0, 2, 2] = 1
    expected = torch.zeros(5, 5)
    expected[1:4, 2] = expected[2, 1:4] = slope * middle
    expected[1:4:2, 1:4:2] = slope * side * math.sqrt(2)
    expected[2, 2] = 0
    torch.testing.assert_close(GaussianDerivativeMagnitude(0.3)(image)[0], expected)


@pytest.mark.parametrize("sigma", [1.5, 2.0, 3.0])
def test_a_slope_of_3_and_4_is_5(sigma):
    x, y = np.meshgrid(np.arange(40.0), np.arange(50.0), indexing="ij")
    magnitude = GaussianDerivativeMagnitude(sigma)(3 * x[None] - 4 * y[None])[0]
    inside = magnitude[14:-14, 14:-14]
    np.testing.assert_allclose(inside, 5, rtol=2e-3)
    assert magnitude[0, 0] < 2  # the mirror makes the border flat


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_normalized_a_step_has_its_height(sigma, axis):
    image = torch.zeros(1, 44, 44, 44)
    image.narrow(axis, 22, 22).fill_(7.0)
    profile = GaussianDerivativeMagnitude(sigma, normalize=True)(image).movedim(axis, 0)[:, 0, 5, 40]
    assert profile[[21, 22]].tolist() == pytest.approx([7, 7], rel=1e-5)
    assert profile.max() <= 7.0001
    assert profile[[0, -1]].tolist() == pytest.approx([0, 0], abs=1e-5)
    plain = GaussianDerivativeMagnitude(sigma)(image).movedim(axis, 0)[:, 0, 5, 40]
    torch.testing.assert_close(profile / 7, plain / plain.max(), rtol=1e-5, atol=1e-6)


def test_constant_image_has_no_edges_and_channels_stay_apart():
    image = np.stack([np.full((20, 20), 3.0, np.float32), noise(20, 20)])
    magnitude = GaussianDerivativeMagnitude(1.0)(image)
    assert np.abs(magnitude[0]).max() < 1e-6
    np.testing.assert_array_equal(magnitude[1:], GaussianDerivativeMagnitude(1.0)(image[1:]))


def test_input_is_left_alone():
    image = torch.from_numpy(noise(1, 20, 20))
    before = image.clone()
    GaussianDerivativeMagnitude(1.0)(image)
    assert torch.equal(image, before)


@pytest.mark.busi
def test_real_image(busi):
    image = GreyReader().get_data(GreyReader().read(str(busi / "benign" / "benign (1).png")))[0][None]
    truth = GreyReader().get_data(GreyReader().read(str(busi / "benign" / "benign (1)_mask.png")))[0] > 0
    edges = GaussianDerivativeMagnitude(2.0)(image)
    np.testing.assert_allclose(edges, by_scipy(image, 2.0), atol=1e-4)
    outline = binary_dilation(truth, iterations=2) & ~truth
    assert edges[0][outline].mean() > 3 * edges[0].mean()


# ---- types and devices ---------------------------------------------------------------------------------------------
def test_arrays_give_arrays_and_integers_float32():
    image = (noise(2, 30, 20) * 255).astype(np.uint8)
    magnitude = GaussianDerivativeMagnitude(1.0)(image)
    assert isinstance(magnitude, np.ndarray)
    assert magnitude.dtype == np.float32
    np.testing.assert_allclose(magnitude, by_scipy(image, 1.0), atol=1e-4)
    np.testing.assert_allclose(GaussianDerivativeMagnitude(1.0)(image[:, ::-1]), magnitude[:, ::-1], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    image = torch.from_numpy(noise(1, 30, 40)).to(dtype)
    magnitude = GaussianDerivativeMagnitude(2.0)(image)
    assert magnitude.dtype == dtype
    assert torch.equal(magnitude, GaussianDerivativeMagnitude(2.0)(image.float()).to(dtype))


def test_autocast_does_not_round():
    image = torch.from_numpy(noise(1, 30, 40))
    expected = GaussianDerivativeMagnitude(2.0)(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(GaussianDerivativeMagnitude(2.0)(image), expected)


def test_stays_on_its_device():
    # a tensor on "meta" holds no values: a step by way of the host would raise
    magnitude = GaussianDerivativeMagnitude(1.0)(torch.empty(2, 20, 30, device="meta"))
    assert (magnitude.device.type, magnitude.shape) == ("meta", (2, 20, 30))
    item = GaussianDerivativeMagnituded("image", 1.0)({"image": torch.empty(1, 9, 9, device="meta")})["image"]
    assert (item.device.type, item.shape) == ("meta", (2, 9, 9))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("shape", [(3, 60, 50), (1, 20, 30, 25)])
def test_on_a_gpu(shape):
    image = noise(*shape)
    magnitude = GaussianDerivativeMagnitude(1.5)(torch.from_numpy(image).cuda())
    assert magnitude.is_cuda
    np.testing.assert_allclose(magnitude.cpu().numpy(), by_scipy(image, 1.5), atol=1e-6)


def test_not_slower_than_scipy():
    image, transform, threads = noise(1, 512, 512), GaussianDerivativeMagnitude(2.0), torch.get_num_threads()
    tensor = torch.from_numpy(image)
    ours, theirs = [], []
    torch.set_num_threads(1)
    try:
        for _ in range(15):
            start = time.thread_time()
            transform(tensor)
            middle = time.thread_time()
            gaussian_gradient_magnitude(image[0], 2.0)
            ours.append(middle - start)
            theirs.append(time.thread_time() - middle)
    finally:
        torch.set_num_threads(threads)
    assert np.median(ours) < np.median(theirs)


# ---- dictionaries and pipelines ------------------------------------------------------------------------------------
def meta_image(*shape):
    return MetaTensor(
        torch.from_numpy(noise(*shape)), meta={"filename_or_obj": "a.png"}, applied_operations=[{"id": 1}]
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_edges_become_new_channels(channels):
    image = meta_image(channels, 20, 30)
    result = GaussianDerivativeMagnituded("image", 1.0)({"image": image, "label": 5})
    assert result["label"] == 5
    joined = result["image"]
    assert joined.shape == (2 * channels, 20, 30)
    assert torch.equal(joined[:channels].as_tensor(), image.as_tensor())
    assert torch.equal(joined[channels:].as_tensor(), GaussianDerivativeMagnitude(1.0)(image).as_tensor())
    assert joined.meta["filename_or_obj"] == "a.png"
    assert joined.applied_operations == [{"id": 1}]
    assert image.shape == (channels, 20, 30)


def test_edges_in_new_keys():
    data = {"a": meta_image(1, 20, 30), "b": noise(2, 15, 15)}
    result = GaussianDerivativeMagnituded(["a", "b"], 1.0, new_keys=["edge_a", "edge_b"], normalize=True)(data)
    assert result["a"] is data["a"]
    assert result["b"] is data["b"]
    expected = GaussianDerivativeMagnitude(1.0, normalize=True)
    assert torch.equal(result["edge_a"].as_tensor(), expected(data["a"]).as_tensor())
    assert result["edge_a"].meta["filename_or_obj"] == "a.png"
    assert result["edge_a"].applied_operations == [{"id": 1}]
    result["edge_a"].applied_operations.append({"id": 2})
    assert data["a"].applied_operations == [{"id": 1}]
    np.testing.assert_array_equal(result["edge_b"], expected(data["b"]))
    assert "edge_a" not in data


def test_integer_array_with_edges_becomes_float32():
    image = (noise(1, 20, 20) * 255).astype(np.uint8)
    joined = GaussianDerivativeMagnituded("image", 1.0)({"image": image})["image"]
    assert isinstance(joined, np.ndarray)
    assert (joined.dtype, joined.shape) == (np.float32, (2, 20, 20))
    np.testing.assert_array_equal(joined[0], image[0])


def test_missing_key():
    assert GaussianDerivativeMagnituded("image", 1.0, allow_missing_keys=True)({"label": 5}) == {"label": 5}
    with pytest.raises(KeyError, match="image"):
        GaussianDerivativeMagnituded("image", 1.0)({"label": 5})


@pytest.mark.parametrize("new_keys", [None, "edge"])
def test_inverting_goes_past_it(new_keys):
    pipeline = Compose(
        [
            Resized("image", spatial_size=(40, 64), mode="nearest"),
            GaussianDerivativeMagnituded("image", 1.0, new_keys=new_keys),
            RandRotate90d("image", prob=1.0, max_k=1),
        ]
    )
    image = MetaTensor(torch.from_numpy(noise(1, 20, 32)))
    data = pipeline({"image": image})
    assert data["image"].shape == (2 if new_keys is None else 1, 64, 40)
    data["pred"] = MetaTensor(data["image"][:1].as_tensor().clone())
    inverted = Invertd("pred", pipeline, orig_keys="image", nearest_interp=True, to_tensor=True)(data)["pred"]
    np.testing.assert_array_equal(inverted.numpy(), image.numpy())
    back = pipeline.inverse({"image": data["image"]})["image"]
    np.testing.assert_array_equal(back[:1].numpy(), image.numpy())
    assert back.applied_operations == []


@pytest.mark.parametrize("edge_channel", [True, False])
def test_a_bundle_switches_it_off_by_one_override(edge_channel):
    parser = ConfigParser(
        {
            "edge_channel": True,
            "in_channels": "$2 if @edge_channel else 1",
            "preprocessing": [
                {"_target_": "ScaleIntensityd", "keys": "image"},
                {
                    "_target_": "hybrid_attention.transforms.GaussianDerivativeMagnituded",
                    "_disabled_": "$not @edge_channel",
                    "keys": "image",
                    "sigma": 2.0,
                },
            ],
            "transform": {"_target_": "Compose", "transforms": "$@preprocessing + []"},
        }
    )
    parser["edge_channel"] = edge_channel
    image = parser.get_parsed_content("transform")({"image": noise(1, 20, 20)})["image"]
    assert len(image) == parser.get_parsed_content("in_channels") == (2 if edge_channel else 1)


# ---- errors --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sigma", [0, -1.0, math.nan, math.inf, (1.0, 0.0), ()])
def test_sigma_must_be_above_zero(sigma):
    with pytest.raises(ValueError, match=r"above 0, got .*" + str(sigma).replace("(", r"\(").replace(")", r"\)")):
        GaussianDerivativeMagnitude(sigma)
    with pytest.raises(ValueError, match="above 0"):
        GaussianDerivativeMagnituded("image", sigma)


def test_sigma_of_a_single_pixel():
    with pytest.raises(ValueError, match=r"at least 0\.125.*got 0\.1"):
        GaussianDerivativeMagnitude(0.1)
    assert GaussianDerivativeMagnitude(0.125)(np.eye(4)[None]).max() > 0


@pytest.mark.parametrize(
    ("shape", "sigma", "message"),
    [
        ((1, 30, 8), 1.0, r"sigma 1\.0 has a kernel of 9 pixels, wider than spatial axis 1 of 8 pixels"),
        ((1, 20, 30), (3.0, 1.0), r"sigma 3\.0 has a kernel of 25 pixels, wider than spatial axis 0 of 20"),
        ((2, 1, 30, 30), 1.0, r"wider than spatial axis 0 of 1 pixels .*\(2, 1, 30, 30\)"),
        ((30,), 1.0, r"one to three spatial axes, got shape \(30,\)"),
        ((1, 1, 9, 9, 9), 1.0, r"one to three spatial axes, got shape \(1, 1, 9, 9, 9\)"),
        ((1, 30, 30), (1.0, 1.0, 1.0), r"3 sigmas .* do not fit the 2 spatial axes of \(1, 30, 30\)"),
        ((1, 30), (1.0, 1.0), r"2 sigmas .* do not fit the 1 spatial axes"),
    ],
)
def test_images_that_do_not_fit(shape, sigma, message):
    with pytest.raises(ValueError, match=message):
        GaussianDerivativeMagnitude(sigma)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("new_keys", ["edge", ["edge", "edge"], ["a", "b", "c"], []])
def test_new_keys_that_do_not_fit(new_keys):
    with pytest.raises(ValueError, match="new_keys must be one distinct key"):
        GaussianDerivativeMagnituded(["image", "other"], 1.0, new_keys=new_keys)
