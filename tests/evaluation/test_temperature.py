import math

import pytest
import torch
from hybrid_attention.evaluation.calibration import pixel_calibration
from hybrid_attention.evaluation.temperature import fit_temperature
from hybrid_attention.transforms import TemperatureScaling


def three_in_four(odds, right=3, wrong=1):
    """Pixels of odds `odds` to 1 for or against a lesion, of which `right` to `wrong` are right."""
    high = odds / (1 + odds)
    count = right + wrong
    probability = torch.tensor([high] * count + [1 - high] * count, dtype=torch.float64)
    return probability, torch.tensor([1.0] * right + [0.0] * wrong + [0.0] * right + [1.0] * wrong)


@pytest.mark.parametrize("odds", [27.0, 9.0, 3.0, 3**0.5])
def test_by_hand(odds):
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


def test_least_likelihood_of_a_grid():
    generator = torch.Generator().manual_seed(1)
    probability = torch.rand(2000, generator=generator)
    target = (torch.rand(2000, generator=generator) < 0.3 + 0.4 * probability).float()
    best = fit_temperature(probability, target)

    def loss(temperature):
        return float(torch.nn.functional.binary_cross_entropy(TemperatureScaling(temperature)(probability), target))

    assert all(loss(best) <= loss(best * factor) for factor in (0.8, 0.95, 0.99, 1.01, 1.05, 1.25))


@pytest.mark.parametrize(
    ("probability", "target", "message"),
    [
        ([0.9, 0.2], [1.0, 1.0], "pixels of lesion and of background, got 2 of 2"),
        ([0.9, 0.2], [0.0, 0.0], "pixels of lesion and of background, got 0 of 2"),
        ([0.9, 0.2], [1.0, 0.0], "no temperature from 0.05 on fits: .* perfectly"),
        ([0.2, 0.9], [1.0, 0.0], "no temperature up to 20 fits: .* or the opposite"),
        ([0.5, 0.5], [1.0, 0.0], "no temperature up to 20 fits: the probabilities say nothing"),
        ([1.5, 0.5], [1.0, 0.0], "probabilities must be from 0 to 1"),
        ([math.nan, 0.5], [1.0, 0.0], "probabilities must be from 0 to 1"),
        ([0.5], [1.0, 0.0], r"must have one shape, got \(1,\) and \(2,\)"),
    ],
)
def test_what_has_no_temperature(probability, target, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(torch.tensor(probability), torch.tensor(target))
