"""Results; the files that they write are tested in tests/deploy and tests/test_loading.py."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hybrid_attention.evaluation.metrics.classification import class_probabilities, predicted_classes
from hybrid_attention.prediction.result import by_class, class_columns, expected_dice


def test_expected_dice_by_hand():
    """Two pixels predicted, their probabilities 0.9 and 0.5; one of 0.2 and one of 0 outside: 2 * 1.4 / (2 + 1.6)."""
    chance, mask = np.array([[0.9, 0.5], [0.2, 0.0]]), np.array([[1, 1], [0, 0]])
    assert expected_dice(chance, mask) == pytest.approx(2.8 / 3.6)
    assert expected_dice(torch.tensor(chance), torch.tensor(mask)) == pytest.approx(2.8 / 3.6)


def test_a_sure_network_expects_what_is():
    truth = np.zeros((4, 4))
    truth[1:3, 1:4] = 1  # six pixels
    half = np.where(np.arange(4)[:, None] == 1, truth, 0)  # three of them
    assert expected_dice(truth, truth) == 1
    assert expected_dice(truth, half) == pytest.approx(2 * 3 / (3 + 6))
    assert expected_dice(truth, 1 - truth) == 0


def test_close_to_the_mean_over_all_truths():
    """All 2^8 truths of eight independent pixels, with their probabilities; without lesion there is no Dice."""
    chance = np.array([0.95, 0.9, 0.85, 0.9, 0.3, 0.1, 0.05, 0.2])
    mask = chance > 0.5
    total = weight = 0.0
    for truth in product((0, 1), repeat=8):
        true = np.array(truth, dtype=bool)
        likely = np.where(true, chance, 1 - chance).prod()
        if true.any():
            total += likely * 2 * (true & mask).sum() / (true.sum() + mask.sum())
            weight += likely
    assert expected_dice(chance, mask) == pytest.approx(total / weight, abs=0.01)


def test_an_empty_mask_is_worth_nothing_however_sure_the_network_is():
    empty = np.zeros((2, 3))
    assert expected_dice(np.full((2, 3), 0.4), empty) == 0
    assert expected_dice(empty, empty) == 0


def test_bad_probabilities():
    with pytest.raises(ValueError, match=r"must have the same shape, got \(2, 2\) and \(2,\)"):
        expected_dice(np.zeros((2, 2)), np.zeros(2))
    for value in (1.5, np.nan):
        with pytest.raises(ValueError, match="probabilities must be from 0 to 1"):
            expected_dice(np.array([value, 0]), np.array([1, 0]))


def test_what_is_written_is_read_again():
    names = ["benign", "malignant", "normal"]
    cases = pd.DataFrame(
        {"case_id": "a", **class_columns(by_class(names, chances))} for chances in ((0.2, 0.7, 0.1), (0.5, 0.3, 0.2))
    )
    assert cases["predicted_class"].tolist() == ["malignant", "benign"]
    assert predicted_classes(cases) == names
    assert class_probabilities(cases).tolist() == [[0.2, 0.7, 0.1], [0.5, 0.3, 0.2]]


def test_more_probabilities_than_names():
    with pytest.raises(ValueError, match="gives 3 class probabilities for the classes benign, malignant"):
        by_class(["benign", "malignant"], [0.2, 0.3, 0.5])
