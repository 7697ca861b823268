import numpy as np
import pytest
import torch
from hybrid_attention.prediction.overlay import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    OPACITY,
    OUTLINE,
    TRUE_POSITIVE,
    draw_overlay,
)


def test_colours_and_axes():
    # (H, W) = (2, 4): column 0 right, column 1 too much, column 2 missed, column 3 background
    prediction = torch.tensor([[1, 1, 0, 0]] * 2)
    truth = torch.tensor([[1, 0, 1, 0]] * 2)
    picture = draw_overlay(torch.tensor([[0.0] * 4, [1.0] * 4]), prediction, truth)
    assert picture.shape == (2, 4, 3)
    assert picture.dtype == np.uint8
    for column, colour in enumerate((TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE)):
        over_black = OPACITY * np.array(colour)
        np.testing.assert_allclose(picture[:, column], [over_black, over_black + (1 - OPACITY) * 255], atol=0.5)
    np.testing.assert_array_equal(picture[:, 3], [[0, 0, 0], [255, 255, 255]])


def test_outline_without_truth():
    prediction = np.zeros((9, 9))
    prediction[2:7, 2:7] = 1
    picture = draw_overlay(np.zeros((9, 9)), prediction)
    outlined = (picture == OUTLINE).all(axis=-1)
    assert outlined.sum() == 16
    assert not outlined[3:6, 3:6].any()


def test_nothing_predicted_leaves_the_image():
    image = np.linspace(0, 255, 16).reshape(4, 4)
    np.testing.assert_array_equal(draw_overlay(image, np.zeros((4, 4)))[..., 0], image.round().astype(np.uint8))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"the same shape, got \[\(2, 2\), \(3, 3\)\]"):
        draw_overlay(np.zeros((2, 2)), np.zeros((3, 3)))
