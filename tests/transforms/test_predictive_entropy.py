import math

import pytest
import torch
from hybrid_attention.transforms import PredictiveEntropy, PredictiveEntropyd


def test_by_hand():
    """A yes or no is 0 bits, a coin 1 bit, one in four 2 - 3/4 log2(3) bits."""
    quarter = 2 - 0.75 * math.log2(3)
    entropy = PredictiveEntropy()(torch.tensor([[0.0, 1.0], [0.5, 0.25], [0.75, 0.5]]))
    torch.testing.assert_close(entropy, torch.tensor([[0.0, 0.0], [1.0, quarter], [quarter, 1.0]]))


def test_rounding_beyond_the_range_is_none():
    entropy = PredictiveEntropy()(torch.tensor([-1e-6, 1 + 1e-6]))
    assert torch.equal(entropy, torch.zeros(2))


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_logits_are_refused(value):
    with pytest.raises(ValueError, match="probabilities must be from 0 to 1"):
        PredictiveEntropy()(torch.tensor([0.5, value]))


def test_dictionary_form_keeps_the_probability():
    data = {"probability": torch.tensor([0.5, 0.0])}
    result = PredictiveEntropyd("probability", "uncertainty")(data)
    assert result["uncertainty"].tolist() == [1, 0] and result["probability"].tolist() == [0.5, 0]
    assert "uncertainty" not in data


def test_a_name_for_each_key():
    with pytest.raises(ValueError, match="need one name a key"):
        PredictiveEntropyd(["a", "b"], "c")
