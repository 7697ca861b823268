import numpy as np
import pytest
import torch
from hybrid_attention.transforms import Corrupt, Corruptd, RandomSpeckle
from hybrid_attention.transforms.corruptions import CORRUPTIONS, lesion_lines
from monai.data import MetaTensor

SIZE = (120, 160)  # (H, W)


def grey(value=60.0, size=SIZE):
    return np.full((1, *size), value)


def ellipse(middle, half, size=SIZE):
    """A mask, (1, H, W), whose outermost pixels lie `half` from the middle."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (((columns - middle[0]) / half[0]) ** 2 + ((rows - middle[1]) / half[1]) ** 2 <= 1)[None].astype(float)


def white_pixels(image):
    return {tuple(place[::-1]) for place in np.argwhere(np.asarray(image)[0] == 255)}


@pytest.mark.parametrize(
    ("kind", "strength", "expected"),
    [
        ("gain", 1, [0, 48, 120, 240, 255]),  # 1.2
        ("contrast", 5, [0, 0, 22.5, 172.5, 255]),  # 40 of 60 dB: black up to a third of 255, then 1.5 as steep
        ("contrast", 3, [0, 0, 61.25, 186.25, 255]),  # 48 dB: black up to 51, then 1.25 as steep
    ],
)
def test_grey_values_by_hand(kind, strength, expected):
    image = np.array([0.0, 40, 100, 200, 255]).reshape(1, 5, 1)
    np.testing.assert_allclose(Corrupt(kind, strength)(image).ravel(), expected, atol=1e-4)
    np.testing.assert_allclose(Corrupt("gain", 4)(grey(2.0)), 4)  # a dark image: of 255, not of its own maximum


def test_speckle_is_a_factor_of_mean_one():
    strong, weak = (Corrupt("speckle", strength)(grey(40.0, (256, 256))) / 40 for strength in (5, 1))
    assert strong.mean() == pytest.approx(1, abs=0.01)
    # four fifths of Rayleigh's law, whose deviation is sqrt(4 / pi - 1) of its mean
    assert strong.std() == pytest.approx(0.8 * np.sqrt(4 / np.pi - 1), rel=0.05)
    assert strong.min() >= 0.2 - 1e-6
    np.testing.assert_allclose((weak - 1) / 0.15, (strong - 1) / 0.8, atol=1e-4)  # the same grains


@pytest.mark.parametrize("height", [200, 400])
def test_blur_spreads_a_line_by_its_sigma(height):
    image = np.zeros((1, height, 100))
    image[0, height // 2] = 255
    profile = Corrupt("blur", 5)(image)[0, :, 50]
    assert profile.sum() == pytest.approx(255)
    deviation = np.sqrt((profile * (np.arange(height) - height // 2) ** 2).sum() / 255)
    assert deviation == pytest.approx(0.016 * height, rel=0.03)  # relative to the long side


def test_downscaling_takes_the_mean_of_blocks():
    stripes, halves = np.zeros((2, 1, 64, 64))
    stripes[:, ::2] = halves[:, 32:] = 200
    np.testing.assert_allclose(Corrupt("downscale", 1)(stripes), 100, atol=1e-4)  # stripes of 1 pixel, blocks of 2
    result = Corrupt("downscale", 5)(halves)[0, :, 0]  # blocks of 8 pixels, with centres at 27.5 and 35.5
    expected = [0] * 28 + [200 * (step + 0.5) / 8 for step in range(8)] + [200] * 28
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_labels_fill_corners():
    sizes = []
    for strength, count in enumerate((1, 2, 3, 4, 4), start=1):
        changed = np.argwhere(Corrupt("text", strength)(grey(), "a")[0] > 61)
        assert len({(column > 80, row > 60) for row, column in changed}) == count
        assert not ((abs(changed - (60, 80)) < 15).all(axis=1)).any()  # the middle stays free
        sizes.append(len(changed))
    assert sizes == sorted(set(sizes))


def test_lines_of_the_largest_lesion_and_of_tiny_ones():
    mask = np.zeros(SIZE, bool)
    mask[10:12, 10:14] = mask[50, 100:110] = mask[5, 5] = True
    first, second = lesion_lines(mask)
    np.testing.assert_array_equal(first, [(100, 50), (109, 50)])
    np.testing.assert_allclose(second[0], second[1])
    alone = np.array(lesion_lines(np.pad([[True]], ((7, 9), (5, 9)))))
    np.testing.assert_array_equal(alone.reshape(4, 2), [(5, 7)] * 4)


def test_crosses_stand_on_the_outline():
    mask = ellipse((80, 60), (40, 15))
    image = grey()
    arms = {}
    for strength, ends in ((1, [(40, 60), (120, 60)]), (2, [(40, 60), (120, 60), (80, 45), (80, 75)])):
        drawn = white_pixels(Corrupt("callipers", strength)(image, "a", mask))
        for column, row in ends:  # 2.5 % of 120 pixels: arms of 2 pixels
            assert {(column + d, row) for d in range(-2, 3)} | {(column, row + d) for d in range(-2, 3)} <= drawn
        arms[strength] = drawn
    assert (80, 45) not in arms[1]
    assert arms[1] < arms[2]
    between = [(column, 60) in arms[1] for column in range(45, 115)]
    assert 0.2 < np.mean(between) < 0.3  # a dot every four pixels


@pytest.mark.parametrize("kind", ["speckle", "text", "callipers"])
def test_same_seed_and_case_same_image(kind):
    image = grey()
    first = Corrupt(kind, 3, seed=4)(image, "a")
    np.testing.assert_array_equal(Corrupt(kind, 3, seed=4)(image, "a", np.zeros((2, *SIZE))), first)  # no lesion
    assert (Corrupt(kind, 3, seed=4)(image, "b") != first).any()
    assert (Corrupt(kind, 3, seed=5)(image, "a") != first).any()
    assert (image == 60).all()


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("white", [1, 65535])
def test_any_grey_range(kind, white):
    image = np.random.default_rng(0).random((1, *SIZE))
    image /= image.max()
    mask = ellipse((80, 60), (40, 15))
    expected = Corrupt(kind, 4)(255 * image, "a", mask) / 255
    np.testing.assert_allclose(Corrupt(kind, 4)(white * image, "a", mask) / white, expected, atol=1e-6)
    assert expected.min() >= 0 and expected.max() <= 1
    assert abs(expected - image).max() > 0.2


def test_types_channels_and_dictionary_form():
    whole = Corrupt("gain", 3)(np.full((1, 40, 30), 51, np.uint8))
    assert whole.dtype == np.uint8 and set(whole.ravel()) == {82}  # 81.6 rounded
    noisy = Corrupt("speckle", 2)(np.repeat(grey(), 3, axis=0))
    np.testing.assert_array_equal(noisy[0], noisy[2])
    halves = np.concatenate([ellipse((80, 60), (40, 15)), ellipse((20, 20), (4, 4))])
    image = MetaTensor(torch.full((1, *SIZE), 60.0), meta={"filename_or_obj": "a.png"})
    result = Corruptd("image", "callipers", 2)({"image": image, "label": torch.as_tensor(halves), "case_id": "a"})
    assert result["image"].meta["filename_or_obj"] == "a.png" and result["image"].dtype == torch.float32
    np.testing.assert_allclose(np.asarray(result["image"]), Corrupt("callipers", 2)(grey(), "a", halves))
    without = Corruptd("image", "callipers", 2)({"image": image, "case_id": "a"})["image"]
    np.testing.assert_allclose(np.asarray(without), Corrupt("callipers", 2)(grey(), "a"))


def test_bad_settings_and_images():
    for arguments, value in ((("haze", 1), "'haze'"), (("blur", 6), 6), (("blur", 2.5), 2.5), (("blur", 1, -1), -1)):
        with pytest.raises(ValueError, match=f"got {value}$"):
            Corrupt(*arguments)
    for image, message in (
        (np.zeros((4, 4)), r"\(channels, H, W\), got \(4, 4\)"),
        (grey(-1.0), "from 0 to 65535, got -1 to -1"),
        (grey(70000.0), "got 70000 to 70000"),
        (grey(np.nan), "got nan to nan"),
    ):
        with pytest.raises(ValueError, match=message):
            Corrupt("callipers", 1)(image)
    with pytest.raises(ValueError, match=r"shape \(120, 160\), got \(4, 5\)"):
        Corrupt("callipers", 1)(grey(), "a", np.zeros((1, 4, 5)))


def test_random_speckle_multiplies_with_mean_one_and_the_given_deviation():
    torch.manual_seed(0)
    x = torch.ones(4, 2, 200, 200)
    x[:, :, :16] = 0
    y = RandomSpeckle((0.2, 0.2), p=1.0)(x)
    assert torch.equal(y[:, 0], y[:, 1]) and not torch.equal(y[0], y[1])
    assert (y[:, :, :16] == 0).all()
    noise = y[:, 0, 16:] - 1
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(0.2, rel=0.03)
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()
    assert neighbours == pytest.approx(2 / 3, abs=0.03)  # windows of 3 share 2 of 3 columns
    assert RandomSpeckle((3.0, 3.0), p=1.0)(x).min() == 0
    y = RandomSpeckle((0.2, 0.2), p=0.25)(torch.ones(400, 1, 4, 4))  # of a quarter of the images
    assert (y != 1).flatten(1).any(1).float().mean() == pytest.approx(0.25, abs=0.07)
    for arguments, value in (({"strength": (0.3, 0.1)}, r"\(0.3, 0.1\)"), ({"p": 2}, "2")):
        with pytest.raises(ValueError, match=f"got {value}"):
            RandomSpeckle(**arguments)
