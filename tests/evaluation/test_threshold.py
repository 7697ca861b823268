import numpy as np
import pytest
import torch
from hybrid_attention.evaluation.threshold import THRESHOLDS, choose_threshold, dice_at
from monai.metrics import compute_dice


def lines(*rows):
    return torch.tensor(rows)[:, None, :]  # (cases, 1, pixels)


CHANCE = lines([0.9, 0.7, 0.4, 0.1], [0.8, 0.3, 0.2, 0.2])
TRUTH = lines([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0])


def test_by_hand():
    """First case: 4, 3, 2, 1 pixels are marked of three; second: 4, 2, 1, 1 of one."""
    scores = dice_at(CHANCE, TRUTH, [0.05, 0.3, 0.5, 0.75])
    expected = [[6 / 7, 6 / 6, 4 / 5, 2 / 4], [2 / 5, 2 / 3, 2 / 2, 2 / 2]]
    np.testing.assert_allclose(scores, expected)


def test_a_pixel_that_reaches_the_threshold_is_marked():
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
    assert [row["threshold"] for row in choice.curve] == list(THRESHOLDS)
    plateau = [row["threshold"] for row in choice.curve if row["dice"] == 1]
    assert (plateau[0], plateau[-1]) == (0.31, 0.4)


def test_a_plateau_around_one_half_leaves_it():
    choice = choose_threshold(lines([0.9, 0.1]), lines([1.0, 0.0]))
    assert (choice.threshold, choice.dice) == (0.5, 1.0)
    assert choose_threshold(lines([0.9, 0.1]), lines([1.0, 0.0]), [0.2, 0.4, 0.6]).threshold == 0.4  # the lower of two


def test_bad_arguments():
    with pytest.raises(ValueError, match="none of 2 images has a lesion"):
        choose_threshold(CHANCE, torch.zeros_like(TRUTH))
    with pytest.raises(ValueError, match=r"of one shape, \(cases, \*spatial\)"):
        dice_at(CHANCE, TRUTH[:1], [0.5])
    with pytest.raises(ValueError, match="with one case or more"):
        dice_at(CHANCE[:0], TRUTH[:0], [0.5])
    for thresholds in ([], [0.0, 0.5], [0.5, 0.5], [0.6, 0.5], [0.5, 1.2]):
        with pytest.raises(ValueError, match="thresholds must rise"):
            dice_at(CHANCE, TRUTH, thresholds)
