import numpy as np
import pytest
from hybrid_attention.data.grey import luma, stretched


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_luma_weighs_three_channels_and_leaves_alpha_out(dtype):
    colours = np.array([[[200, 100, 50, 9], [0, 0, 100, 200]]], dtype)
    np.testing.assert_allclose(luma(colours), [[59.8 + 58.7 + 5.7, 11.4]])
    np.testing.assert_allclose(luma(colours[..., :3]), [[124.2, 11.4]])


def test_stretched_from_darkest_to_brightest():
    grey = np.array([[-2.0, 0.0], [2.0, 3.0]], np.float32)
    result = stretched(grey)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0, 102], [204, 255]], rtol=1e-6)
    np.testing.assert_allclose(stretched(np.array([[40, 41, 45]], np.uint16)), [[0, 51, 255]])


def test_stretched_of_one_grey_value_is_black():
    np.testing.assert_array_equal(stretched(np.full((2, 3), 70.0)), np.zeros((2, 3)))
