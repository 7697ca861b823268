import math

import numpy as np
import pytest
import torch
from hybrid_attention.evaluation.metrics.calibration import (
    THRESHOLDS,
    PixelCalibration,
    choose_threshold,
    dice_at,
    fit_temperature,
    pixel_calibration,
)
from hybrid_attention.transforms import TemperatureScaling
from monai.metrics import compute_dice


def collected(probability, target, bins=15):
    calibration = PixelCalibration(bins)
    calibration.update(torch.as_tensor(probability), torch.as_tensor(target))
    return calibration


def test_curve_and_error_by_hand():
    calibration = collected([0.1, 0.3, 0.9, 0.7], [0.0, 1.0, 1.0, 1.0], bins=2)
    assert calibration.curve().to_dict("records") == [
        {"low": 0.0, "high": 0.5, "pixels": 2, "mean_probability": pytest.approx(0.2), "lesion_fraction": 0.5},
        {"low": 0.5, "high": 1.0, "pixels": 2, "mean_probability": pytest.approx(0.8), "lesion_fraction": 1.0},
    ]
    assert calibration.expected_error() == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)


def test_one_belongs_to_the_last_bin_and_empty_bins_are_left_out():
    curve = collected([1.0, 1.0], [1.0, 0.0]).curve()
    assert curve["high"].tolist() == [1.0]
    assert curve["lesion_fraction"].tolist() == [0.5]
    assert math.isnan(PixelCalibration().expected_error())  # no pixels


def three_in_four(odds, right=3, wrong=1):
    """Pixels of odds `odds` to 1 for or against a lesion, of which `right` to `wrong` are right."""
    high = odds / (1 + odds)
    count = right + wrong
    probability = torch.tensor([high] * count + [1 - high] * count, dtype=torch.float64)
    return probability, torch.tensor([1.0] * right + [0.0] * wrong + [0.0] * right + [1.0] * wrong)


@pytest.mark.parametrize("odds", [27.0, 9.0, 3.0, 3**0.5])
def test_temperature_by_hand(odds):
    """Right 3 times of 4, the odds must become 3 to 1, so that T = log(odds) / log(3)."""
    probability, target = three_in_four(odds)
    temperature = fit_temperature(probability, target)
    assert temperature == pytest.approx(math.log(odds) / math.log(3), rel=1e-6)
    scaled = TemperatureScaling(temperature)(probability)
    assert pixel_calibration(scaled, target).expected_error() == pytest.approx(0, abs=1e-6)
    assert pixel_calibration(probability, target).expected_error() == pytest.approx(abs(odds / (1 + odds) - 0.75))


def test_logits_known_to_be_too_sharp():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4, 100, 100, generator=generator)
    target = (torch.rand(logits.shape, generator=generator) < logits.sigmoid()).float()
    assert fit_temperature((2.5 * logits).sigmoid(), target) == pytest.approx(2.5, rel=0.05)
    assert fit_temperature((0.4 * logits).sigmoid(), target) == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize(
    ("probability", "target", "message"),
    [
        ([0.9, 0.2], [1.0, 1.0], "got 2 of 2"),
        ([0.9, 0.2], [0.0, 0.0], "got 0 of 2"),
        ([0.9, 0.2], [1.0, 0.0], "no temperature from 0.05 fits"),
        ([0.2, 0.9], [1.0, 0.0], "no temperature up to 20 fits"),
        ([0.5, 0.5], [1.0, 0.0], "no temperature up to 20 fits"),
        ([1.5, 0.5], [1.0, 0.0], "from 0 to 1"),
        ([math.nan, 0.5], [1.0, 0.0], "from 0 to 1"),
        ([0.5], [1.0, 0.0], r"got \(1,\) and \(2,\)"),
    ],
)
def test_no_temperature(probability, target, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(torch.tensor(probability), torch.tensor(target))


def lines(*rows):
    return torch.tensor(rows)[:, None, :]  # (cases, 1, pixels)


CHANCE = lines([0.9, 0.7, 0.4, 0.1], [0.8, 0.3, 0.2, 0.2])
TRUTH = lines([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0])


def test_dice_by_hand():
    """First case: 4, 3, 2, 1 pixels are predicted of three; second: 4, 2, 1, 1 of one."""
    scores = dice_at(CHANCE, TRUTH, [0.05, 0.3, 0.5, 0.75])
    expected = [[6 / 7, 6 / 6, 4 / 5, 2 / 4], [2 / 5, 2 / 3, 2 / 2, 2 / 2]]
    np.testing.assert_allclose(scores, expected)


def test_a_pixel_that_reaches_the_threshold_is_lesion():
    for threshold in THRESHOLDS:
        exact = torch.full((1, 2), threshold)
        assert dice_at(exact, torch.ones(1, 2), [threshold]) == 1
        assert bool((exact >= threshold).all())  # as MONAI's AsDiscrete decides


def test_agrees_with_monai():
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(6, 8, 9, generator=generator)
    truth = (torch.rand(6, 8, 9, generator=generator) < chance).float()
    truth[2] = 0
    for threshold in (0.01, 0.33, 0.5, 0.97):
        theirs = compute_dice((chance >= threshold)[:, None].float(), truth[:, None])[:, 0]
        np.testing.assert_allclose(dice_at(chance, truth, [threshold])[:, 0], theirs.numpy(), rtol=1e-6)
    assert np.isnan(dice_at(chance, truth, [0.5])[2, 0])


def test_best_mean_of_lesion_images():
    """From 0.31 to 0.40: (1 + 1) / 2. The image without lesion would ask for more than 0.95."""
    normal = torch.full((1, 1, 4), 0.95)
    choice = choose_threshold(torch.cat([CHANCE, normal]), torch.cat([TRUTH, torch.zeros(1, 1, 4)]))
    assert (choice.threshold, choice.dice) == (0.4, 1.0)  # of the plateau, the nearest to 0.5
    assert choice.curve["threshold"].tolist() == list(THRESHOLDS)
    plateau = choice.curve["threshold"][choice.curve["dice"] == 1].tolist()
    assert (plateau[0], plateau[-1]) == (0.31, 0.4)
    choice = choose_threshold(lines([0.9, 0.1]), lines([1.0, 0.0]))
    assert (choice.threshold, choice.dice) == (0.5, 1.0)  # in the plateau
    assert choose_threshold(lines([0.9, 0.1]), lines([1.0, 0.0]), [0.2, 0.4, 0.6]).threshold == 0.4  # the lower of two


def test_bad_masks():
    with pytest.raises(ValueError, match="got none in 2 images"):
        choose_threshold(CHANCE, torch.zeros_like(TRUTH))
    with pytest.raises(ValueError, match=r"got \(2, 1, 4\) and \(1, 1, 4\)"):
        dice_at(CHANCE, TRUTH[:1], [0.5])
    with pytest.raises(ValueError, match=r"got \(0, 1, 4\)"):
        dice_at(CHANCE[:0], TRUTH[:0], [0.5])
