import numpy as np
import pytest
from hybrid_attention.explain import draw_panels, heat_overlay
from hybrid_attention.explain.panels import GAP

WIDTH, HEIGHT = 120, 80


def planes():
    """Ramp into depth, probability that grows across, mask top left, one hot spot; (W, H), MONAI's axis order."""
    image = np.tile(np.linspace(-3, 5, HEIGHT), (WIDTH, 1))
    probability = np.tile(np.linspace(0, 1, WIDTH)[:, None], (1, HEIGHT))
    mask = np.zeros((WIDTH, HEIGHT))
    mask[:30, :10] = 1
    heat = np.zeros((WIDTH, HEIGHT))
    heat[100, 70] = 1
    return image, probability, mask, heat


def cut(picture):
    """The panels without their titles, the last one with its bar."""
    row = picture[-HEIGHT:]
    lefts = [number * (WIDTH + GAP) for number in range(4)]
    return [row[:, left : left + WIDTH] for left in lefts[:3]] + [row[:, lefts[3] :]]


def test_panels_stand_in_the_order_of_the_paper():
    image, probability, mask, heat = planes()
    picture = draw_panels(image, probability, mask, heat)
    first, second, third, fourth = cut(picture)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    np.testing.assert_array_equal(first[:, 0, 0], np.linspace(0, 255, HEIGHT).round())
    np.testing.assert_array_equal(second[0, :, 0], np.linspace(0, 255, WIDTH).round())
    assert (third[:10, :30] == 255).all() and third.sum() == 3 * 255 * 300
    np.testing.assert_array_equal(fourth, heat_overlay(image, heat))
    assert fourth.shape[1] > WIDTH  # the colour bar


def test_every_panel_has_its_title_above():
    picture = draw_panels(*planes())
    titles = picture[:-HEIGHT]
    for number in range(4):
        left = number * (WIDTH + GAP)
        letters = (titles[:, left : left + WIDTH].min(axis=-1) > 200).any(axis=0)
        assert letters.any()
        middle = np.flatnonzero(letters)[[0, -1]].mean()
        assert abs(middle - WIDTH / 2) < 3
        assert not letters[[0, -1]].any()  # as small as the panel demands


def test_without_heat_the_last_panel_is_the_image():
    image, probability, mask, _ = planes()
    picture = draw_panels(image, probability, np.zeros_like(mask), None)
    first, _, third, fourth = cut(picture)
    np.testing.assert_array_equal(fourth, first)
    assert not third.any()


def test_planes_must_fit():
    image, probability, mask, heat = planes()
    with pytest.raises(ValueError, match=r"one shape, got \(120, 80\), \(120, 80\) and \(80, 120\)"):
        draw_panels(image, probability, mask.T, heat)
    with pytest.raises(ValueError, match=r"one shape, got \(120, 80\) and \(1, 1\)"):
        draw_panels(image, probability, mask, heat[:1, :1])
    with pytest.raises(ValueError, match="2D arrays"):
        draw_panels(image[None], probability[None], mask[None], heat[None])
