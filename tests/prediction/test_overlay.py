import numpy as np
import pytest
import torch
from hybrid_attention.prediction import overlay
from hybrid_attention.prediction.overlay import draw_overlay


def test_colours_and_axes():
    # (H, W) = (2, 4): column 0 right, column 1 too much, column 2 missed, column 3 background
    prediction, truth = torch.tensor([[1, 1, 0, 0]] * 2), torch.tensor([[1, 0, 1, 0]] * 2)
    picture = draw_overlay(torch.tensor([[0.0] * 4, [1.0] * 4]), prediction, truth)
    assert picture.shape == (2, 4, 3) and picture.dtype == np.uint8
    for column, colour in enumerate((overlay.TRUE_POSITIVE, overlay.FALSE_POSITIVE, overlay.FALSE_NEGATIVE)):
        over_black = overlay.OPACITY * np.array(colour)
        over_white = over_black + (1 - overlay.OPACITY) * 255
        np.testing.assert_allclose(picture[:, column], [over_black, over_white], atol=0.5)
    np.testing.assert_array_equal(picture[:, 3], [[0, 0, 0], [255, 255, 255]])


def test_outline_without_truth():
    image, prediction = np.linspace(0, 255, 81).reshape(9, 9), np.zeros((9, 9))
    np.testing.assert_array_equal(draw_overlay(image, prediction)[..., 0], image.round())
    prediction[2:7, 2:7] = 1
    outlined = (draw_overlay(image, prediction) == overlay.OUTLINE).all(axis=-1)
    assert outlined.sum() == 16 and not outlined[3:6, 3:6].any()
    with pytest.raises(ValueError, match=r"the same shape, got \[\(3, 3\), \(9, 9\)\]"):
        draw_overlay(image, np.zeros((3, 3)))
