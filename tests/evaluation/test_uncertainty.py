import math

import pytest
import torch
from hybrid_attention.evaluation import confidence_scores, mutual_information
from hybrid_attention.evaluation.uncertainty import CONFIDENCES, OF_SEVERAL

QUARTER = 2 - 0.75 * math.log2(3)  # entropy of one in four, in bits


def test_disagreement_by_hand():
    """Yes and no: 1 bit. Doubt shared by all: none. 1/4 and 3/4: 1 bit of their mean minus that of each."""
    members = torch.tensor([[0.0, 0.5, 0.25, 1.0], [1.0, 0.5, 0.75, 1.0]])
    torch.testing.assert_close(mutual_information(members), torch.tensor([1.0, 0.0, 1 - QUARTER, 0.0]))


def test_one_member_agrees_with_itself():
    assert torch.equal(mutual_information(torch.rand(1, 3, 3)), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="need one member or more"):
        mutual_information(torch.rand(0, 3, 3))


def test_scores_by_hand():
    chance = torch.tensor([[0.75, 0.5], [0.25, 0.0]])
    mask = torch.tensor([[1, 1], [0, 0]])
    members = torch.tensor([[[1, 1], [0, 0]], [[1, 0], [0, 0]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]])
    disagreement = torch.tensor([[0.1, 0.3], [0.9, 0.9]])
    scores = confidence_scores(chance, mask, members, disagreement)
    assert list(scores) == list(CONFIDENCES)
    assert scores["expected_dice"] == pytest.approx(2 * 1.25 / (2 + 1.5))
    assert scores["minus_entropy"] == pytest.approx(-(QUARTER + 1) / 2)
    assert scores["member_dice"] == pytest.approx((1 + 2 / 3 + 4 / 6 + 0) / 4)
    assert scores["minus_disagreement"] == pytest.approx(-0.2)


def test_a_single_pass_has_no_members():
    scores = confidence_scores(torch.full((2, 2), 0.9), torch.ones(2, 2))
    assert set(scores) == set(CONFIDENCES) - set(OF_SEVERAL)


def test_a_missed_lesion_is_never_the_safest_case():
    """Nothing marked, all passes agree and are sure: still less confidence than in the worst of marks."""
    sure = torch.full((3, 3), 1e-5)
    empty = confidence_scores(sure, torch.zeros(3, 3), torch.zeros(2, 3, 3), torch.zeros(3, 3))
    coin = torch.full((3, 3), 0.5)
    corner = torch.zeros(3, 3)
    corner[0, 0] = 1
    others = torch.zeros(2, 3, 3)
    others[:, 2, 2] = 1
    poor = confidence_scores(coin, corner, others, torch.ones(3, 3))
    assert empty == {"expected_dice": 0, "minus_entropy": -1, "member_dice": 0, "minus_disagreement": -1}
    assert all(empty[name] <= poor[name] for name in CONFIDENCES)


def test_a_member_that_marks_nothing_disagrees_wholly():
    scores = confidence_scores(torch.ones(2, 2), torch.ones(2, 2), torch.zeros(3, 2, 2))
    assert scores["member_dice"] == 0


def test_bad_shapes():
    with pytest.raises(ValueError, match="must be of one shape"):
        confidence_scores(torch.ones(2, 2), torch.ones(2, 3))
    with pytest.raises(ValueError, match="members of one axis more"):
        confidence_scores(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="mask of one member or more"):
        confidence_scores(torch.ones(2, 2), torch.ones(2, 2), torch.ones(0, 2, 2))
