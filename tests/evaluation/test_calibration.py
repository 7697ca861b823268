import math

import numpy as np
import pytest
import torch
from hybrid_attention.evaluation import PixelCalibration


def collected(probability, target, bins=15):
    calibration = PixelCalibration(bins)
    calibration.update(torch.as_tensor(probability), torch.as_tensor(target))
    return calibration


def test_by_hand():
    calibration = collected([0.1, 0.3, 0.9, 0.7], [0.0, 1.0, 1.0, 1.0], bins=2)
    assert calibration.curve() == [
        {"low": 0.0, "high": 0.5, "pixels": 2, "mean_probability": pytest.approx(0.2), "lesion_fraction": 0.5},
        {"low": 0.5, "high": 1.0, "pixels": 2, "mean_probability": pytest.approx(0.8), "lesion_fraction": 1.0},
    ]
    assert calibration.expected_error() == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)


def test_honest_probabilities_have_no_error():
    probability = np.random.default_rng(0).random(200_000)
    target = (np.random.default_rng(1).random(200_000) < probability).astype(float)
    assert collected(probability, target).expected_error() < 0.006
    assert collected(probability**3, target).expected_error() > 0.2  # the same order, too low


def test_one_belongs_to_the_last_bin_and_empty_bins_are_left_out():
    curve = collected([1.0, 1.0], [1.0, 0.0]).curve()
    assert [row["high"] for row in curve] == [1.0]
    assert curve[0]["lesion_fraction"] == 0.5


def test_no_pixels():
    assert math.isnan(PixelCalibration().expected_error())
    with pytest.raises(ValueError, match="got 0"):
        PixelCalibration(0)
