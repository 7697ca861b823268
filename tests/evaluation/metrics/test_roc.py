import math

import numpy as np
import pytest
import torch
from hybrid_attention.evaluation.metrics.roc import PixelRoc, thinned
from sklearn.metrics import roc_auc_score


def collected(probability, target, bins=8192):
    roc = PixelRoc(bins)
    roc.update(torch.as_tensor(probability), torch.as_tensor(target))
    return roc


def overlapping(pixels=20_000, seed=0):
    generator = np.random.default_rng(seed)
    target = generator.random(pixels) < 0.1
    logits = generator.normal(-4, 3, pixels) + 4 * target
    return torch.sigmoid(torch.as_tensor(logits)), torch.as_tensor(target.astype(float))


def test_by_hand():
    # of the 6 pairs, lesion above background in 4, tied in 1
    roc = collected([0.9, 0.5, 0.5, 0.3, 0.1], [1.0, 1.0, 0.0, 0.0, 1.0])
    assert roc.auc() == pytest.approx((2 + 1 + 0.5) / 6)
    false_rates, true_rates, thresholds = roc.curve()
    assert false_rates.tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    assert true_rates.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1])
    assert thresholds[0] == np.inf and np.all(np.diff(thresholds) < 0)


def test_agrees_with_scikit_learn_within_its_bound():
    probability, target = overlapping()
    exact = roc_auc_score(target, probability)
    fine, coarse = collected(probability, target), collected(probability, target, bins=64)
    for roc in (fine, coarse):
        assert abs(roc.auc() - exact) <= roc.error_bound()
    assert fine.error_bound() < 1e-3 < coarse.error_bound() < 0.05
    assert np.trapezoid(fine.curve()[1], fine.curve()[0]) == pytest.approx(fine.auc())


def test_the_bound_is_needed():
    """Nearly all in one bin: little is known, and the bound says so."""
    roc = collected([0.51, 0.50, 0.001], [1.0, 0.0, 0.0], bins=5)
    assert (roc.auc(), roc.error_bound()) == (0.75, 0.25)


def test_extreme_probabilities_are_resolved():
    assert collected([1e-6, 1e-7], [1.0, 0.0]).auc() == 1
    assert collected([1 - 1e-6, 1 - 1e-5], [1.0, 0.0]).auc() == 1
    assert collected([0.0, 1.0], [0.0, 1.0]).auc() == 1


def test_batches_add_up_in_constant_memory():
    probability, target = overlapping()
    whole, parts = collected(probability, target), PixelRoc()
    for start in range(0, len(target), 1000):
        parts.update(probability[start : start + 1000], target[start : start + 1000])
    assert parts.auc() == whole.auc()
    assert parts.pixels == len(target)
    assert parts.lesion.nbytes + parts.background.nbytes == 2 * 8 * 8192


@pytest.mark.parametrize(
    ("probability", "target"), [([0.2, 0.8], [0.0, 0.0]), ([0.2, 0.8], [1.0, 1.0]), ([0.3] * 4, [1.0, 0.0, 1.0, 0.0])]
)
def test_one_class_or_equal_predictions_have_no_curve(probability, target):
    roc = collected(probability, target)
    assert math.isnan(roc.auc()) and math.isnan(roc.error_bound())
    with pytest.raises(ValueError, match="no ROC curve"):
        roc.curve()


def test_bad_probabilities():
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            collected([value], [1.0])
    with pytest.raises(ValueError, match=r"got \(2,\) and \(1,\)"):
        collected([0.1, 0.2], [1.0])


def test_thinning_keeps_the_area():
    curve = collected(*overlapping()).curve()
    short = thinned(curve)
    assert len(short[0]) < 400 < len(curve[0])
    assert (short[0][0], short[1][0], short[0][-1], short[1][-1]) == (0, 0, 1, 1)
    assert np.trapezoid(short[1], short[0]) == pytest.approx(np.trapezoid(curve[1], curve[0]), abs=1e-3)
