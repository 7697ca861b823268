import math

import numpy as np
import pytest
import torch
from hybrid_attention.evaluation.metrics.roc_and_calibration import (
    THRESHOLDS,
    PixelCalibration,
    PixelRoc,
    choose_threshold,
    dice_at,
    fit_temperature,
    thinned,
)
from hybrid_attention.transforms import TemperatureScaling
from sklearn.metrics import roc_auc_score


def roc_of(probability, target, bins=8192):
    roc = PixelRoc(bins)
    roc.update(torch.as_tensor(probability), torch.as_tensor(target))
    return roc


def test_roc_by_hand():
    # of the 6 pairs, lesion above background in 4, tied in 1
    roc = roc_of([0.9, 0.5, 0.5, 0.3, 0.1], [1.0, 1.0, 0.0, 0.0, 1.0])
    assert roc.auc() == pytest.approx((2 + 1 + 0.5) / 6)
    false_rates, true_rates, thresholds = roc.curve().to_numpy().T
    assert false_rates.tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    assert true_rates.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1])
    assert thresholds[0] == np.inf and np.all(np.diff(thresholds) < 0)
    # nearly all in one bin: little is known, and the bound says so
    roc = roc_of([0.51, 0.50, 0.001], [1.0, 0.0, 0.0], bins=5)
    assert (roc.auc(), roc.error_bound()) == (0.75, 0.25)
    for extreme in ([1e-6, 1e-7], [1 - 1e-6, 1 - 1e-5], [1.0, 0.0]):
        assert roc_of(extreme, [1.0, 0.0]).auc() == 1
    for probability, target in (([0.2, 0.8], [0.0, 0.0]), ([0.2, 0.8], [1.0, 1.0]), ([0.3] * 2, [1.0, 0.0])):
        roc = roc_of(probability, target)  # one class or equal predictions
        assert math.isnan(roc.auc()) and math.isnan(roc.error_bound())
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="from 0 to 1"):
            roc_of([value], [1.0])


def test_roc_agrees_with_scikit_learn_within_its_bound():
    generator = np.random.default_rng(0)
    target = generator.random(20_000) < 0.1
    probability = torch.sigmoid(torch.as_tensor(generator.normal(-4, 3, 20_000) + 4 * target))
    exact = roc_auc_score(target, probability)
    fine, coarse, parts = roc_of(probability, target), roc_of(probability, target, bins=64), PixelRoc()
    for roc in (fine, coarse):
        assert abs(roc.auc() - exact) <= roc.error_bound()
    assert fine.error_bound() < 1e-3 < coarse.error_bound() < 0.05
    for some in range(0, 20_000, 1000):
        parts.update(probability[some : some + 1000], torch.as_tensor(target[some : some + 1000]))
    assert (parts.auc(), parts.pixels) == (fine.auc(), 20_000)
    curve = fine.curve()
    short = thinned(curve)
    assert len(short) < 400 < len(curve)
    assert (short.iloc[0, :2] == 0).all() and (short.iloc[-1, :2] == 1).all()
    whole, area = (np.trapezoid(one["true_positive_rate"], one["false_positive_rate"]) for one in (curve, short))
    assert whole == pytest.approx(fine.auc()) == pytest.approx(area, abs=1e-3)


def collected(probability, target, bins=15):
    return PixelCalibration(bins).update(torch.as_tensor(probability), torch.as_tensor(target))


def test_calibration_by_hand():
    calibration = collected([0.1, 0.3, 0.9, 0.7], [0.0, 1.0, 1.0, 1.0], bins=2)
    assert calibration.curve().to_dict("records") == [
        {"low": 0.0, "high": 0.5, "pixels": 2, "mean_probability": pytest.approx(0.2), "lesion_fraction": 0.5},
        {"low": 0.5, "high": 1.0, "pixels": 2, "mean_probability": pytest.approx(0.8), "lesion_fraction": 1.0},
    ]
    assert calibration.expected_error() == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)
    curve = collected([1.0, 1.0], [1.0, 0.0]).curve()  # one belongs to the last bin, and empty bins are left out
    assert (curve["high"].tolist(), curve["lesion_fraction"].tolist()) == ([1.0], [0.5])
    assert math.isnan(PixelCalibration().expected_error())  # no pixels


@pytest.mark.parametrize("odds", [27.0, 9.0, 3.0, 3**0.5])
def test_temperature_by_hand(odds):
    """Right 3 times of 4 at odds to 1, the odds must become 3 to 1, so that T = log(odds) / log(3)."""
    high = odds / (1 + odds)
    probability = torch.tensor([high] * 4 + [1 - high] * 4, dtype=torch.float64)
    target = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 1])
    temperature = fit_temperature(probability, target)
    assert temperature == pytest.approx(math.log(odds) / math.log(3), rel=1e-6)
    scaled = TemperatureScaling(temperature)(probability)
    assert collected(scaled, target).expected_error() == pytest.approx(0, abs=1e-6)
    assert collected(probability, target).expected_error() == pytest.approx(abs(high - 0.75))


def test_no_temperature():
    for probability, target, message in (
        ([0.9, 0.2], [1.0, 1.0], "got 2 of 2"),
        ([0.9, 0.2], [0.0, 0.0], "got 0 of 2"),
        ([0.9, 0.2], [1.0, 0.0], "no temperature from 0.05 fits"),
        ([0.2, 0.9], [1.0, 0.0], "no temperature up to 20 fits"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_temperature(torch.tensor(probability), torch.tensor(target))


def lines(*rows):
    return torch.tensor(rows)[:, None, :]  # (cases, 1, pixels)


CHANCE = lines([0.9, 0.7, 0.4, 0.1], [0.8, 0.3, 0.2, 0.2])
TRUTH = lines([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0])


def test_dice_at_thresholds():
    # first case: 4, 3, 2, 1 pixels are predicted of three; second: 4, 2, 1, 1 of one
    scores = dice_at(CHANCE, TRUTH, [0.05, 0.3, 0.5, 0.75])
    np.testing.assert_allclose(scores, [[6 / 7, 6 / 6, 4 / 5, 2 / 4], [2 / 5, 2 / 3, 2 / 2, 2 / 2]])
    for threshold in THRESHOLDS:  # a pixel that reaches the threshold is lesion, as MONAI's AsDiscrete decides
        exact = torch.full((1, 2), threshold)
        assert dice_at(exact, torch.ones(1, 2), [threshold]) == 1 and bool((exact >= threshold).all())
    assert np.isnan(dice_at(CHANCE, 0 * TRUTH, [0.5])).all()
    # best mean of lesion images, from 0.31 to 0.40: (1 + 1) / 2; the one without lesion would ask for more than 0.95
    normal = torch.full((1, 1, 4), 0.95)
    choice = choose_threshold(torch.cat([CHANCE, normal]), torch.cat([TRUTH, 0 * normal]))
    assert (choice.threshold, choice.dice) == (0.4, 1.0)  # of the plateau, the nearest to 0.5
    assert choice.curve["threshold"].tolist() == list(THRESHOLDS)
    plateau = choice.curve["threshold"][choice.curve["dice"] == 1].tolist()
    assert (plateau[0], plateau[-1]) == (0.31, 0.4)
    choice = choose_threshold(lines([0.9, 0.1]), lines([1.0, 0.0]))
    assert (choice.threshold, choice.dice) == (0.5, 1.0)  # in the plateau
    assert choose_threshold(lines([0.9, 0.1]), lines([1.0, 0.0]), [0.2, 0.4, 0.6]).threshold == 0.4  # the lower of two
    with pytest.raises(ValueError, match="got none in 2 images"):
        choose_threshold(CHANCE, 0 * TRUTH)
