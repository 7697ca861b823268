import math

import pytest
import torch
from hybrid_attention.transforms import PredictiveEntropy, TemperatureScaling


def test_temperature_by_hand():
    """Log-odds of 9 to 1, halved, are those of 3 to 1; doubled, those of 81 to 1."""
    chance = torch.tensor([0.9, 0.1, 0.5])
    torch.testing.assert_close(TemperatureScaling(2)(chance), torch.tensor([0.75, 0.25, 0.5]))
    torch.testing.assert_close(TemperatureScaling(0.5)(chance), torch.tensor([81 / 82, 1 / 82, 0.5]))


def test_what_is_predicted_and_certainty():
    chance = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert TemperatureScaling(1)(chance) is chance
    for temperature in (0.3, 4.0):
        scaled = TemperatureScaling(temperature)(chance)
        assert torch.equal(scaled >= 0.5, chance >= 0.5)
        assert (scaled[chance.argsort()].diff() >= 0).all()
    scaled = TemperatureScaling(2)(torch.tensor([0.0, 1.0]))  # taken for one in a million; root of the odds
    torch.testing.assert_close(scaled, torch.tensor([1e-3, 1 - 1e-3]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("temperature", [0, math.nan, math.inf, "2"])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match=f"temperature must be a finite number above 0 .*, got {temperature!r}"):
        TemperatureScaling(temperature)


def test_entropy_by_hand():
    """A yes or no is 0 bits, a coin 1 bit, one in four 2 - 3/4 log2(3) bits."""
    quarter = 2 - 0.75 * math.log2(3)
    entropy = PredictiveEntropy()(torch.tensor([[0.0, 1.0], [0.5, 0.25], [0.75, 0.5]]))
    torch.testing.assert_close(entropy, torch.tensor([[0.0, 0.0], [1.0, quarter], [quarter, 1.0]]))
    assert torch.equal(PredictiveEntropy()(torch.tensor([-1e-6, 1 + 1e-6])), torch.zeros(2))  # rounding


@pytest.mark.parametrize("value", [1.1, math.nan])
def test_logits_are_refused(value):
    with pytest.raises(ValueError, match="probabilities must be from 0 to 1"):
        PredictiveEntropy()(torch.tensor([0.5, value]))
