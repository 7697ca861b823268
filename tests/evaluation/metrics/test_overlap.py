import math

import pytest
import torch
from hybrid_attention.evaluation import confusion_counts, overlap_scores

from tests.evaluation.drawing import drawn

TRUTH = drawn("""
    .##..
    .##..
    .##..
    .....
""")
PREDICTION = drawn("""
    ..##.
    ..##.
    .....
    .....
""")


def test_counts_from_a_drawing():
    assert confusion_counts(PREDICTION, TRUTH) == {"tp": 2, "fp": 2, "fn": 4, "tn": 12}


def test_scores_from_geometry():
    scores = overlap_scores(confusion_counts(PREDICTION, TRUTH))
    assert scores == pytest.approx(
        {
            "dice": 4 / 10,
            "f1": 4 / 10,
            "jaccard": 2 / 8,
            "sensitivity": 2 / 6,
            "specificity": 12 / 14,
            "precision": 2 / 4,
            "accuracy": 14 / 20,
        }
    )


def test_swapping_prediction_and_truth_swaps_sensitivity_and_precision():
    there, back = (overlap_scores(confusion_counts(*pair)) for pair in ((PREDICTION, TRUTH), (TRUTH, PREDICTION)))
    assert there["sensitivity"] == back["precision"]
    assert there["dice"] == back["dice"]


def test_perfect_and_nothing_marked():
    assert set(overlap_scores(confusion_counts(TRUTH, TRUTH)).values()) == {1.0}
    nothing = overlap_scores(confusion_counts(torch.zeros_like(TRUTH), TRUTH))
    assert (nothing["dice"], nothing["jaccard"], nothing["sensitivity"], nothing["specificity"]) == (0, 0, 0, 1)
    assert math.isnan(nothing["precision"])


def test_both_empty_is_undefined():
    empty = torch.zeros_like(TRUTH)
    scores = overlap_scores(confusion_counts(empty, empty))
    assert math.isnan(scores["dice"]) and math.isnan(scores["sensitivity"])
    assert scores["accuracy"] == 1


def test_large_masks_are_counted_exactly():
    large = torch.ones(1, 5000, 5000)  # more pixels than float32 counts one by one
    large[0, 0, 0] = 0
    assert confusion_counts(large, torch.ones(1, 5000, 5000)) == {"tp": 24_999_999, "fp": 0, "fn": 1, "tn": 0}


@pytest.mark.parametrize("shape", [(1, 3, 5), (2, 4, 5)])
def test_shapes_must_fit(shape):
    with pytest.raises(ValueError, match="one-channel masks of one shape"):
        confusion_counts(torch.zeros(shape), TRUTH if shape[0] == 1 else torch.zeros(shape))
