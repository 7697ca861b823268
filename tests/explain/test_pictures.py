import numpy as np
import pytest
import torch
from hybrid_attention.explain import draw_attention, draw_panels, draw_uncertainty, heat_overlay
from hybrid_attention.explain.pictures import GAP, MASK, TRUTH
from matplotlib import colormaps

COLOURS = np.array(colormaps["inferno"](range(256), bytes=True)[:, :3], dtype=float)
COLD, HOT = COLOURS[0], COLOURS[255]


def test_colours_and_axes_of_heat():
    image, heat = torch.zeros(2, 40, 60)  # 60 wide, 40 high
    image[10, 50], heat[30, 20] = 7, 1
    picture = heat_overlay(image, heat, colour_bar=False)
    assert picture.shape == (40, 60, 3) and picture.dtype == np.uint8
    np.testing.assert_allclose(picture[30, 20], HOT / 2, atol=1)
    np.testing.assert_allclose(picture[10, 50], COLD / 2 + 127.5, atol=1)
    np.testing.assert_allclose(picture[0, 0], COLD / 2, atol=1)
    with pytest.raises(ValueError, match=r"got \(4, 5\), \(5, 4\)"):
        heat_overlay(np.zeros((4, 5)), np.zeros((5, 4)))
    for bad in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match=f"got {bad}"):
            heat_overlay(np.zeros((4, 5)), np.full((4, 5), bad))
    # the bar runs from hot above to cold below
    table = {tuple(colour): level for level, colour in enumerate(COLOURS)}
    for height in (4, 40, 512):
        bar = heat_overlay(*np.zeros((2, height, 30)))[:, 30:]
        column = bar[:, (bar == HOT).all(axis=2).any(axis=0).argmax()]
        levels = [table[tuple(colour)] for colour in column if tuple(colour) in table]  # the background is not in it
        assert (levels[0], levels[-1]) == (255, 0) and levels == sorted(levels, reverse=True)
        assert len(levels) > 0.4 * height


def test_panels_are_in_the_order_of_the_paper():
    image = np.tile(np.linspace(-3, 5, 80)[:, None], (1, 120))
    probability = np.tile(np.linspace(0, 1, 120), (80, 1))
    mask, heat = np.zeros((2, 80, 120))
    mask[:10, :30] = heat[70, 100] = 1
    picture, without = draw_panels(image, probability, mask, heat), draw_panels(image, probability, mask, None)
    lefts = [number * (120 + GAP) for number in range(4)]
    for left in lefts:  # above each panel is its title
        letters = (picture[:-80, left : left + 120].min(axis=-1) > 200).any(axis=0)
        assert abs(np.flatnonzero(letters)[[0, -1]].mean() - 120 / 2) < 3
    first, second, third = (picture[-80:, left : left + 120] for left in lefts[:3])
    np.testing.assert_array_equal(first[:, 0, 0], np.linspace(0, 255, 80).round())
    np.testing.assert_array_equal(second[0, :, 0], np.linspace(0, 255, 120).round())
    assert (third[:10, :30] == 255).all() and third.sum() == 3 * 255 * 300
    np.testing.assert_array_equal(picture[-80:, lefts[3] :], heat_overlay(image, heat))
    np.testing.assert_array_equal(without[-80:, lefts[3] :], first)
    with pytest.raises(ValueError, match=r"\(80, 120\), \(80, 120\), \(120, 80\)"):
        draw_panels(image, probability, mask.T, heat)


def where(picture, colour):
    """Columns and rows that hold a colour, in pixels of the plane, which is enlarged nine times."""
    rows, columns = np.nonzero((picture == np.array(colour)).all(-1))
    return (columns.min() // 9, columns.max() // 9), (rows.min() // 9, rows.max() // 9)


def test_uncertainty_with_outlines_of_mask_and_truth():
    truth, entropy = torch.zeros(2, 30, 40)
    truth[5:13, 10:18] = entropy[0, 0] = 1
    mask = truth.roll(2, 1)
    outlined = draw_uncertainty(torch.rand(30, 40), mask, truth, entropy)[-30 * 9 :, : 40 * 9]
    assert where(outlined, MASK) == ((12, 19), (5, 12)) and where(outlined, TRUTH)[0] == (10, 17)
    inside = outlined[9 * 9 : 9 * 10, 9 * 14 : 9 * 15]
    assert (inside[..., 0] == inside[..., 1]).all()  # only the outline is drawn
    alone, both = (draw_uncertainty(0 * truth, mask, truth, entropy, more) for more in (None, 1 - entropy))
    assert both.shape[1] > alone.shape[1] and both.shape[0] == alone.shape[0]
    heat = heat_overlay(np.kron(0 * truth, np.ones((9, 9))), np.kron(entropy, np.ones((9, 9))))
    np.testing.assert_array_equal(alone[-270:, 364 : 364 + heat.shape[1]], heat)
    large = torch.zeros(260, 300)
    assert draw_uncertainty(large, large, large, large).shape[0] in range(261, 320)  # not enlarged


def test_attention_in_rows_of_four_panels():
    image = np.arange(40 * 60, dtype=np.float32).reshape(40, 60)
    spot = np.zeros((40, 60), np.float32)
    spot[30, 20] = 0.01
    picture = draw_attention(image, {"a": spot, "b": np.array([0.1, 0.2]), "c": spot, "d": 0 * spot})
    heat = heat_overlay(image, 100 * spot)  # divided by its maximum
    width, rows = heat.shape[1], picture.shape[0] // 2
    top = rows - GAP - 40
    assert picture.shape == (2 * rows, 4 * width + 3 * GAP, 3)
    np.testing.assert_array_equal(picture[top : top + 40, width + GAP :][:, :width], heat)
    bars = picture[top : top + 40, 2 * (width + GAP) :][:, :width, 0] == 255
    assert (bars.sum(0) == np.where(np.arange(width) < width / 2, 20, 40)).all() and bars[-1].all()
    np.testing.assert_array_equal(picture[rows + top :][:40, :width], heat_overlay(image, 0 * spot))
    assert (picture[rows:, width + GAP :] == picture[0, 0]).all()  # empty places
