"""Results; the files that they write are tested in test_predict_folder.py."""

import numpy as np
import pytest
import torch
from hybrid_attention.prediction.result import by_class, expected_dice


@pytest.mark.parametrize(
    ("chance", "mask", "expected"),
    [
        ([[0.9, 0.5], [0.2, 0.0]], [[1, 1], [0, 0]], 2 * (0.9 + 0.5) / (2 + 1.6)),
        ([1, 1, 0, 0], [1, 1, 0, 0], 1),  # a sure network expects what is
        ([1, 1, 0, 0], [1, 0, 0, 0], 2 * 1 / (2 + 1)),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0),
        ([0.4, 0.4], [0, 0], 0),  # an empty mask is worth nothing, however sure the network is
        ([0, 0], [0, 0], 0),
    ],
)
def test_expected_dice_by_hand(chance, mask, expected):
    assert expected_dice(chance, mask) == pytest.approx(expected)
    assert expected_dice(torch.tensor(chance), torch.tensor(mask)) == pytest.approx(expected)


def test_bad_probabilities():
    with pytest.raises(ValueError, match=r"must have the same shape, got \(2, 2\) and \(2,\)"):
        expected_dice(np.zeros((2, 2)), np.zeros(2))
    for value in (1.5, np.nan):
        with pytest.raises(ValueError, match="probabilities must be from 0 to 1"):
            expected_dice(np.array([value, 0]), np.array([1, 0]))
    with pytest.raises(ValueError, match="gives 3 class probabilities for the classes benign, malignant"):
        by_class(["benign", "malignant"], [0.2, 0.3, 0.5])
