"""Results; the files that they write are tested in test_predict_folder.py."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hybrid_attention.evaluation.metrics.classification import class_probabilities, predicted_classes
from hybrid_attention.prediction.result import by_class, class_columns, expected_dice


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


def test_close_to_the_mean_over_all_truths():
    """All 2^8 truths of eight independent pixels, with their probabilities; without lesion there is no Dice."""
    chance = np.array([0.95, 0.9, 0.85, 0.9, 0.3, 0.1, 0.05, 0.2])
    mask = chance > 0.5
    truths = np.array(list(product((False, True), repeat=8))[1:])
    likely = np.where(truths, chance, 1 - chance).prod(axis=1)
    dice = 2 * (truths & mask).sum(axis=1) / (truths.sum(axis=1) + mask.sum())
    assert expected_dice(chance, mask) == pytest.approx(np.average(dice, weights=likely), abs=0.01)


def test_bad_probabilities():
    with pytest.raises(ValueError, match=r"must have the same shape, got \(2, 2\) and \(2,\)"):
        expected_dice(np.zeros((2, 2)), np.zeros(2))
    for value in (1.5, np.nan):
        with pytest.raises(ValueError, match="probabilities must be from 0 to 1"):
            expected_dice(np.array([value, 0]), np.array([1, 0]))
    with pytest.raises(ValueError, match="gives 3 class probabilities for the classes benign, malignant"):
        by_class(["benign", "malignant"], [0.2, 0.3, 0.5])


def test_class_columns_are_read_again():
    names = ["benign", "malignant", "normal"]
    cases = pd.DataFrame({"case_id": "a", **class_columns(by_class(names, chances))} for chances in ((0.2, 0.7, 0.1),))
    assert cases["predicted_class"].tolist() == ["malignant"]
    assert predicted_classes(cases) == names
    assert class_probabilities(cases).tolist() == [[0.2, 0.7, 0.1]]
