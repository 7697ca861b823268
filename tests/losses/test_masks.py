"""BCE + Jaccard: two pixels with logits 0 and ln 3, so probabilities 1/2 and 3/4; every expected value by hand."""

import math

import pytest
import torch
from hybrid_attention.losses import BCEJaccardLoss, MaskAndBoundaryLoss, mask_boundary

from tests.evaluation.drawing import drawn

LN2 = math.log(2)
LN3 = math.log(3)
LOGITS = torch.tensor([0.0, LN3]).view(1, 1, 1, 2)


def truth(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, 2)


CASES = [  # truth, cross-entropy, Jaccard loss for smooth 1: 1 - (I + 1) / (U + 1)
    (truth(1, 0), (LN2 + 2 * LN2) / 2, 1 - 1.5 / 2.75),  # I = 1/2, U = 7/4
    (truth(0, 1), (LN2 + math.log(4 / 3)) / 2, 1 - 1.75 / 2.5),  # I = 3/4, U = 3/2
    (truth(0, 0), (LN2 + 2 * LN2) / 2, 1 - 1 / 2.25),  # I = 0, U = 5/4
    (truth(1, 1), (LN2 + math.log(4 / 3)) / 2, 1 - 2.25 / 3),  # I = 5/4, U = 2
]


@pytest.mark.parametrize(("target", "bce", "jaccard"), CASES)
def test_both_terms_and_their_weights(target, bce, jaccard):
    for bce_weight, jaccard_weight in [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.25, 3.0)]:
        loss = BCEJaccardLoss(bce_weight, jaccard_weight)
        assert loss(LOGITS.clone().requires_grad_(), target).item() == pytest.approx(
            bce_weight * bce + jaccard_weight * jaccard, abs=1e-6
        )
        assert loss.terms == pytest.approx({"bce": bce, "jaccard": jaccard}, abs=1e-6)
        assert not any(term.requires_grad for term in loss.terms.values())


@pytest.mark.parametrize(("smooth", "expected"), [(1e-6, 1 - 0.5 / 1.75), (4.0, 1 - 4.5 / 5.75)])
def test_smooth_is_added_to_intersection_and_union(smooth, expected):
    loss = BCEJaccardLoss(bce_weight=0.0, smooth=smooth)(LOGITS, truth(1, 0))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_empty_prediction_of_an_empty_truth_is_best():
    loss = BCEJaccardLoss()(torch.full((1, 1, 4, 4), -50.0), torch.zeros(1, 1, 4, 4))
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_jaccard_is_taken_per_image_and_channel():
    jaccards = [case[2] for case in CASES]
    images = torch.cat([case[0] for case in CASES]).view(2, 2, 1, 2)
    logits = LOGITS.expand(2, 2, 1, 2)
    per_map = BCEJaccardLoss(0.0, 1.0, reduction="none")(logits, images)
    assert per_map.shape == (2, 2, 1, 1)
    assert per_map.flatten().tolist() == pytest.approx(jaccards, abs=1e-6)
    assert BCEJaccardLoss(0.0, 1.0)(logits, images).item() == pytest.approx(sum(jaccards) / 4, abs=1e-6)
    assert BCEJaccardLoss(0.0, 1.0, reduction="sum")(logits, images).item() == pytest.approx(sum(jaccards), abs=1e-6)


def test_three_dimensions_and_integer_truth():
    volume = LOGITS.view(1, 1, 1, 1, 2)
    loss = BCEJaccardLoss(reduction="none")(volume, torch.tensor([1, 0], dtype=torch.uint8).view_as(volume))
    assert loss.tolist() == [[[[[pytest.approx(1.5 * LN2 + 1 - 1.5 / 2.75, abs=1e-6)]]]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_is_computed_in_float32(dtype):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 64, 64).to(dtype), (torch.rand(2, 1, 64, 64) > 0.7).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = BCEJaccardLoss()(logits, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, BCEJaccardLoss()(logits.float(), target.float()))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0)])
def test_gradient_in_float64(weights):
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    target = (torch.rand(2, 2, 3, 2) > 0.5).double()
    target[0, 0] = 0
    loss = BCEJaccardLoss(*weights)
    assert loss(logits, target).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda x: loss(x, target), (logits,))


def test_what_does_not_fit_is_quoted():
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) and \(2, 4, 4\)"):
        BCEJaccardLoss()(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))
    for arguments, message in (
        ({"bce_weight": -1.0}, "got -1.0 and 1.0"),
        ({"bce_weight": 0.0, "jaccard_weight": 0.0}, "not both 0"),
        ({"smooth": 0.0}, "more than 0, got 0.0"),
        ({"reduction": "median"}, "median"),
    ):
        with pytest.raises(ValueError, match=message):
            BCEJaccardLoss(**arguments)


MASK = """
    .......
    .......
    ..####.
    ..####.
    ..####.
    ..####.
"""
BOUNDARY = """
    .......
    .######
    .######
    .##..##
    .##..##
    .##..##
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool])
def test_boundary_is_one_pixel_on_both_sides_and_not_along_the_border_of_the_image(dtype):
    boundary = mask_boundary(drawn(MASK)[None].to(dtype))
    assert boundary.dtype == dtype
    assert torch.equal(boundary.float(), drawn(BOUNDARY)[None])


def test_each_map_is_compared_with_its_own_target_and_counts_alike():
    target = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])  # the boundary is the first two pixels
    masks = torch.tensor([[[[9.0, -9.0, -9.0, -9.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    boundaries = torch.tensor([[[[9.0, 9.0, -9.0, -9.0]], [[-9.0, 9.0, -9.0, -9.0]], [[9.0, 9.0, -9.0, -9.0]]]])
    loss = MaskAndBoundaryLoss(torch.nn.BCEWithLogitsLoss())([masks, boundaries], target)
    # ln 2 of the undecided mask, 9 of one of four pixels of a boundary, and ln(1 + e^-9) of the other fifteen pixels
    small = torch.log1p(torch.exp(torch.tensor(-9.0)))
    expected = (4 * torch.log(torch.tensor(2.0)) + 9 + small + 15 * small) / 20
    torch.testing.assert_close(loss, expected)


def test_one_tensor_is_compared_with_the_mask():
    logits, target = torch.randn(2, 1, 4, 5), (torch.rand(2, 1, 4, 5) > 0.5).float()
    torch.testing.assert_close(MaskAndBoundaryLoss(BCEJaccardLoss())(logits, target), BCEJaccardLoss()(logits, target))


def test_gradients_of_masks_and_boundaries():
    target = (torch.rand(1, 1, 3, 4) > 0.5).double()
    maps = [torch.randn(1, count, 3, 4, dtype=torch.float64, requires_grad=True) for count in (2, 3)]
    loss = MaskAndBoundaryLoss(BCEJaccardLoss())
    assert torch.autograd.gradcheck(lambda *parts: loss(parts, target), maps)
