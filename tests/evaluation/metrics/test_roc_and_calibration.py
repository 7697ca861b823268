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
from monai.metrics import compute_dice
from sklearn.metrics import roc_auc_score


def roc_of(probability, target, bins=8192):
    roc = PixelRoc(bins)
    roc.update(torch.as_tensor(probability), torch.as_tensor(target))
    return roc


def overlapping(pixels=20_000, seed=0):
    generator = np.random.default_rng(seed)
    target = generator.random(pixels) < 0.1
    logits = generator.normal(-4, 3, pixels) + 4 * target
    return torch.sigmoid(torch.as_tensor(logits)), torch.as_tensor(target.astype(float))


def area_under(curve):
    return np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])


def test_roc_by_hand():
    # of the 6 pairs, lesion above background in 4, tied in 1
    roc = roc_of([0.9, 0.5, 0.5, 0.3, 0.1], [1.0, 1.0, 0.0, 0.0, 1.0])
    assert roc.auc() == pytest.approx((2 + 1 + 0.5) / 6)
    false_rates, true_rates, thresholds = roc.curve().to_numpy().T
    assert false_rates.tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    assert true_rates.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1])
    assert thresholds[0] == np.inf and np.all(np.diff(thresholds) < 0)


def test_agrees_with_scikit_learn_within_its_bound():
    probability, target = overlapping()
    exact = roc_auc_score(target, probability)
    fine, coarse = roc_of(probability, target), roc_of(probability, target, bins=64)
    for roc in (fine, coarse):
        assert abs(roc.auc() - exact) <= roc.error_bound()
    assert fine.error_bound() < 1e-3 < coarse.error_bound() < 0.05
    assert area_under(fine.curve()) == pytest.approx(fine.auc())


def test_the_bound_is_needed():
    """Nearly all in one bin: little is known, and the bound says so."""
    roc = roc_of([0.51, 0.50, 0.001], [1.0, 0.0, 0.0], bins=5)
    assert (roc.auc(), roc.error_bound()) == (0.75, 0.25)


def test_extreme_probabilities_are_resolved():
    assert roc_of([1e-6, 1e-7], [1.0, 0.0]).auc() == 1
    assert roc_of([1 - 1e-6, 1 - 1e-5], [1.0, 0.0]).auc() == 1
    assert roc_of([0.0, 1.0], [0.0, 1.0]).auc() == 1


def test_batches_add_up_in_constant_memory():
    probability, target = overlapping()
    whole, parts = roc_of(probability, target), PixelRoc()
    for start in range(0, len(target), 1000):
        parts.update(probability[start : start + 1000], target[start : start + 1000])
    assert parts.auc() == whole.auc()
    assert parts.pixels == len(target)
    assert parts.lesion.nbytes + parts.background.nbytes == 2 * 8 * 8192


@pytest.mark.parametrize(
    ("probability", "target"), [([0.2, 0.8], [0.0, 0.0]), ([0.2, 0.8], [1.0, 1.0]), ([0.3] * 4, [1.0, 0.0, 1.0, 0.0])]
)
def test_one_class_or_equal_predictions_have_no_curve(probability, target):
    roc = roc_of(probability, target)
    assert math.isnan(roc.auc()) and math.isnan(roc.error_bound())
    with pytest.raises(ValueError, match="no ROC curve"):
        roc.curve()


def test_bad_probabilities():
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            roc_of([value], [1.0])
    with pytest.raises(ValueError, match=r"got \(2,\) and \(1,\)"):
        roc_of([0.1, 0.2], [1.0])


def test_thinning_keeps_the_area():
    curve = roc_of(*overlapping()).curve()
    short = thinned(curve)
    assert len(short) < 400 < len(curve)
    assert (short.iloc[0, :2] == 0).all() and (short.iloc[-1, :2] == 1).all()
    assert area_under(short) == pytest.approx(area_under(curve), abs=1e-3)


def collected(probability, target, bins=15):
    return PixelCalibration(bins).update(torch.as_tensor(probability), torch.as_tensor(target))


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
    assert collected(scaled, target).expected_error() == pytest.approx(0, abs=1e-6)
    assert collected(probability, target).expected_error() == pytest.approx(abs(odds / (1 + odds) - 0.75))


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
    ],
)
def test_no_temperature(probability, target, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(torch.tensor(probability), torch.tensor(target))


def lines(*rows):
    return torch.tensor(rows)[:, None, :]  # (cases, 1, pixels)


CHANCE = lines([0.9, 0.7, 0.4, 0.1], [0.8, 0.3, 0.2, 0.2])
TRUTH = lines([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0])


def test_dice_at_thresholds_by_hand():
    """First case: 4, 3, 2, 1 pixels are predicted of three; second: 4, 2, 1, 1 of one."""
    scores = dice_at(CHANCE, TRUTH, [0.05, 0.3, 0.5, 0.75])
    expected = [[6 / 7, 6 / 6, 4 / 5, 2 / 4], [2 / 5, 2 / 3, 2 / 2, 2 / 2]]
    np.testing.assert_allclose(scores, expected)


def test_a_pixel_that_reaches_the_threshold_is_lesion():
    for threshold in THRESHOLDS:
        exact = torch.full((1, 2), threshold)
        assert dice_at(exact, torch.ones(1, 2), [threshold]) == 1
        assert bool((exact >= threshold).all())  # as MONAI's AsDiscrete decides


def test_dice_agrees_with_monai():
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


def test_no_lesion_to_choose_a_threshold_by():
    with pytest.raises(ValueError, match="got none in 2 images"):
        choose_threshold(CHANCE, torch.zeros_like(TRUTH))
