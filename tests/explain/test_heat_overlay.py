import sys

import numpy as np
import pytest
import torch
from hybrid_attention.explain import heat_overlay
from matplotlib import colormaps

COLD, HOT = (np.array(colormaps["inferno"](level, bytes=True)[:3], dtype=float) for level in (0, 255))


def test_colours_and_axes():
    image = torch.zeros(60, 40)  # 60 wide, 40 high
    image[50, 10] = 7.0
    heat = torch.zeros(60, 40)
    heat[20, 30] = 1.0
    picture = heat_overlay(image, heat, colour_bar=False)
    assert picture.shape == (40, 60, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture[30, 20], HOT / 2, atol=1)
    np.testing.assert_allclose(picture[10, 50], COLD / 2 + 127.5, atol=1)
    np.testing.assert_allclose(picture[0, 0], COLD / 2, atol=1)


@pytest.mark.parametrize("height", [4, 40, 512])
def test_the_bar_runs_from_hot_above_to_cold_below(height):
    heat = np.zeros((30, height), dtype=np.float32)
    picture = heat_overlay(heat, heat)
    assert picture.shape[0] == height
    assert np.array_equal(picture[:, :30], heat_overlay(heat, heat, colour_bar=False))
    bar = picture[:, 30:].astype(int)
    assert 0 < bar.shape[1] < max(height, 30)
    column = bar[:, (bar == HOT).all(axis=2).any(axis=0).argmax()]
    table = {tuple(colour): level for level, colour in enumerate(colormaps["inferno"](range(256), bytes=True)[:, :3])}
    levels = [table[tuple(colour)] for colour in column if tuple(colour) in table]  # the panel's grey is not in it
    assert levels[0] == 255
    assert levels[-1] == 0
    assert levels == sorted(levels, reverse=True)
    assert len(levels) > 0.4 * height


def test_the_bar_is_labelled_at_both_ends():
    bar = heat_overlay(np.zeros((1, 200)), np.zeros((1, 200)))[:, 1:]
    white = np.flatnonzero((bar > 200).all(axis=2).any(axis=1))
    assert white.min() < 15
    assert white.max() > 185
    assert not ((white > 20) & (white < 180)).any()


def test_faults():
    with pytest.raises(ValueError, match=r"one shape, got \(4, 5\) and \(5, 4\)"):
        heat_overlay(np.zeros((4, 5)), np.zeros((5, 4)))
    for bad in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match="heat must be from 0 to 1"):
            heat_overlay(np.zeros((4, 5)), np.full((4, 5), bad))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        heat_overlay(np.zeros((4, 5)), np.zeros((4, 5)))
