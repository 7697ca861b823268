import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hybrid_attention.evaluation.uncertainty import confidence_scores, mutual_information, risk_curve, risk_scores

QUARTER = 2 - 0.75 * math.log2(3)  # entropy of one in four, in bits
RISK = [0.1, 0.5, 0.9]


def test_disagreement_and_scores_by_hand():
    # 0 and 1: 1 bit; shared uncertainty: none; 1/4 and 3/4: 1 bit of their mean minus that of each
    members = torch.tensor([[0.0, 0.5, 0.25, 1.0], [1.0, 0.5, 0.75, 1.0]])
    torch.testing.assert_close(mutual_information(members), torch.tensor([1.0, 0.0, 1 - QUARTER, 0.0]))
    chance = torch.tensor([[0.75, 0.5], [0.25, 0.0]])
    mask = torch.tensor([[1, 1], [0, 0]])
    members = torch.tensor([[[1, 1], [0, 0]], [[1, 0], [0, 0]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]])
    disagreement = torch.tensor([[0.1, 0.3], [0.9, 0.9]])
    scores = confidence_scores(chance, mask, members, disagreement)
    assert scores["expected_dice"] == pytest.approx(2 * 1.25 / (2 + 1.5))
    assert scores["minus_entropy"] == pytest.approx(-(QUARTER + 1) / 2)
    assert scores["member_dice"] == pytest.approx((1 + 2 / 3 + 4 / 6 + 0) / 4)
    assert scores["minus_disagreement"] == pytest.approx(-0.2)
    assert list(confidence_scores(chance, mask)) == list(scores)[:2] == ["expected_dice", "minus_entropy"]
    assert confidence_scores(chance, mask, 0 * members, disagreement)["member_dice"] == 0


def test_a_missed_lesion_is_never_the_most_reliable_case():
    """An empty mask has less confidence than the worst mask, even if all members agree and are certain."""
    nothing, corner = torch.zeros(2, 3, 3)
    empty = confidence_scores(nothing + 1e-5, nothing, torch.zeros(2, 3, 3), nothing)
    corner[0, 0] = 1
    poor = confidence_scores(nothing + 0.5, corner, corner.flip(0)[None].repeat(2, 1, 1), nothing + 1)
    assert empty == {"expected_dice": 0, "minus_entropy": -1, "member_dice": 0, "minus_disagreement": -1}
    assert all(empty[name] <= poor[name] for name in empty)


def test_risk_curve_by_hand():
    """The middle case is kept first, then the worst, then the best."""
    assert risk_curve([0.2, 0.8, 0.5], RISK) == pytest.approx([0.5, 0.7, 0.5])
    scores = risk_scores([0.2, 0.8, 0.5], RISK, [0, 1, 2], resamples=5)
    area, perfect = (0.5 + 0.7 + 0.5) / 3, (0.1 + 0.3 + 0.5) / 3
    assert (scores["random"], scores["perfect"]) == pytest.approx((0.5, perfect))
    values = [scores[name]["value"] for name in ("aurc", "e_aurc", "gain")]
    assert values == pytest.approx([area, area - perfect, 0.5 - area])
    # ties are the mean over their orders
    tied = risk_curve([1, 0, 0, 0], [0.0, 0.2, 0.4, 0.9])
    orders = [risk_curve([9, *order], [0.0, 0.2, 0.4, 0.9]) for order in permutations((1, 2, 3))]
    assert tied == pytest.approx(np.mean(orders, axis=0))
    assert risk_curve([1, 1, 1], RISK) == pytest.approx([0.5, 0.5, 0.5])


def test_intervals_hold_the_values_and_copies_count_once():
    generator = np.random.default_rng(0)
    risk = generator.random(60)
    confidence = -risk + 0.3 * generator.standard_normal(60)
    scores = risk_scores(confidence, risk, list(range(60)), resamples=200)
    for name in ("aurc", "e_aurc", "gain"):
        assert scores[name]["low"] < scores[name]["value"] < scores[name]["high"]
    assert scores["gain"]["low"] > 0 and 0.4 < scores["rank_correlation"] < 1
    doubled = risk_scores([*confidence, *confidence], [*risk, *risk], [*range(60), *range(60)], resamples=200)
    single = scores["aurc"]["high"] - scores["aurc"]["low"]
    assert doubled["aurc"]["high"] - doubled["aurc"]["low"] == pytest.approx(single, rel=0.25)
    assert math.isnan(risk_scores([1, 1], [0.2, 0.4], [0, 1], resamples=5)["rank_correlation"])
