import math

import pytest
import torch
from hybrid_attention.evaluation import surface_distances


def pixel(row, column, size=12):
    mask = torch.zeros(1, size, size)
    mask[0, row, column] = 1
    return mask


def test_two_pixels_apart():
    assert surface_distances(pixel(3, 3), pixel(3, 8)) == {"hd95": 5.0, "asd": 5.0}
    assert surface_distances(pixel(3, 3), pixel(6, 7)) == {"hd95": 5.0, "asd": 5.0}  # 3, 4, 5


def test_spacing_is_by_axis():
    assert surface_distances(pixel(3, 3), pixel(3, 8), spacing=(7.0, 0.5))["hd95"] == 2.5
    assert surface_distances(pixel(3, 3), pixel(8, 3), spacing=(7.0, 0.5))["hd95"] == 35.0


def test_square_shifted_by_two():
    square, shifted = torch.zeros(1, 20, 20), torch.zeros(1, 20, 20)
    square[0, 5:10, 5:10] = 1
    shifted[0, 5:10, 7:12] = 1
    there, back = surface_distances(square, shifted), surface_distances(shifted, square)
    assert there == pytest.approx(back)
    assert there["hd95"] == 2.0
    # 16 outline pixels each; by column, from the far side: 5 lie 2 away, 2 lie 1 away, and so on
    assert 0 < there["asd"] < 2


def test_one_stray_pixel_in_many_hardly_moves_the_95th_percentile():
    square = torch.zeros(1, 40, 40)
    square[0, 5:15, 5:15] = 1
    stray = square.clone()
    stray[0, 39, 39] = 1
    assert surface_distances(stray, square)["hd95"] == 0.0
    assert surface_distances(stray, square)["asd"] > 0


def test_no_distance_to_nothing():
    for pair in ((pixel(1, 1), torch.zeros(1, 12, 12)), (torch.zeros(1, 12, 12), pixel(1, 1))):
        assert all(math.isnan(value) for value in surface_distances(*pair).values())


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -1.0)])
def test_bad_spacing(spacing):
    with pytest.raises(ValueError, match="2 positive sizes"):
        surface_distances(pixel(1, 1), pixel(2, 2), spacing=spacing)
