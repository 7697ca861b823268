"""Logits of 0, ln 3 and ln 2, so probabilities in quarters; every expected value is worked out by hand."""

import math
from typing import NamedTuple

import pytest
import torch
from hybrid_attention.losses import BCEJaccardLoss, MultiTaskLoss, MultiTaskTarget
from torch.nn import functional

LN2 = math.log(2)
LN3 = math.log(3)


class Output(NamedTuple):
    mask: torch.Tensor
    coarse_mask: torch.Tensor | None = None
    class_logits: torch.Tensor | None = None


# one image of one row of two pixels; background logit 0, so a lesion logit of ln 3 is a lesion probability of 3/4
def logits(*lesion):
    values = torch.tensor(lesion)
    return torch.stack([torch.zeros_like(values), values]).view(1, 2, 1, len(lesion))


MASK = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
OUTPUT = Output(
    mask=logits(LN3, 0.0),  # true class: 3/4, 1/2
    coarse_mask=logits(-LN3, LN3),  # true class: 1/4, 1/4
    class_logits=torch.tensor([[0.0, LN2, 0.0]]),  # 1/4, 1/2, 1/4
)
REFINED = (math.log(4 / 3) + LN2) / 2
COARSE = 2 * LN2
CLASS = [2 * LN2, LN2, 2 * LN2]


def target(index=0, mask=MASK):
    return MultiTaskTarget(mask, None if index is None else torch.tensor([index]))


NO_CONTEXT, SINGLE_TASK = OUTPUT._replace(coarse_mask=None), OUTPUT._replace(class_logits=None)
NO_CLASS = {"classification_weight": 0}


@pytest.mark.parametrize(
    ("options", "output", "index", "expected"),
    [
        *(({}, OUTPUT, index, 0.4 * COARSE + REFINED + CLASS[index]) for index in range(3)),
        ({"coarse_weight": 0, "classification_weight": 2}, OUTPUT, 1, REFINED + 2 * LN2),
        ({"coarse_weight": 3, "segmentation_weight": 0.5}, OUTPUT, 1, 0.5 * (REFINED + 3 * COARSE) + LN2),
        ({"segmentation_weight": 0, "classification_weight": 3}, OUTPUT, 1, 3 * LN2),
        # absent outputs have no term
        ({}, Output(OUTPUT.mask), None, REFINED),
        ({}, NO_CONTEXT, 0, REFINED + 2 * LN2),
        ({}, SINGLE_TASK, None, REFINED + 0.4 * COARSE),
        # weight zero ignores the class, whatever is there
        *((NO_CLASS, OUTPUT, index, REFINED + 0.4 * COARSE) for index in (7, None)),
        (NO_CLASS, SINGLE_TASK, 0, REFINED + 0.4 * COARSE),
    ],
)
def test_paper_and_weights(options, output, index, expected):
    loss = MultiTaskLoss(**options)(output, target(index))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_terms_are_kept_without_weights_and_gradient():
    loss = MultiTaskLoss(coarse_weight=3, segmentation_weight=0.5, classification_weight=2, jaccard_weight=4)
    loss(OUTPUT._replace(mask=OUTPUT.mask.clone().requires_grad_()), target(1))
    jaccard = 1 - (3 / 4 + 1) / (1 + 3 / 4 + 1 / 2 - 3 / 4 + 1)
    assert loss.terms == pytest.approx({"mask": REFINED, "jaccard": jaccard, "coarse": COARSE, "class": LN2}, abs=1e-6)
    assert not any(term.requires_grad for term in loss.terms.values())
    loss(Output(OUTPUT.mask), target(None))
    assert list(loss.terms) == ["mask", "jaccard"]  # those of the last call


BATCH = Output(logits(LN3, 0.0).expand(3, 2, 1, 2), None, OUTPUT.class_logits.expand(3, 3))
TRUTH = MultiTaskTarget(MASK.expand(3, 1, 1, 2), torch.tensor([1, 1, 0]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (1 + 1 + 2) / 3 * LN2),
        ({"class_weights": [3, 1, 5]}, (1 + 1 + 3 * 2) / 5 * LN2),  # the mean is weighted too
        ({"class_weights": [0.5, 2, 9]}, (2 + 2 + 0.5 * 2) / 4.5 * LN2),
        ({"focal_gamma": 1}, (1 / 2 + 1 / 2 + 2 * 3 / 4) / 3 * LN2),
        ({"focal_gamma": 2}, (1 / 4 + 1 / 4 + 2 * 9 / 16) / 3 * LN2),
        ({"focal_gamma": 2, "class_weights": [3, 1, 5]}, (1 / 4 + 1 / 4 + 3 * 2 * 9 / 16) / 5 * LN2),
    ],
)
def test_class_weights_and_focal(options, expected):
    loss = MultiTaskLoss(segmentation_weight=0, **options)(BATCH, TRUTH)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_pixels_and_images_are_averaged_in_any_dimension_and_number_of_regions():
    torch.manual_seed(0)
    mask, coarse, scores = torch.randn(3, 4, 3, 4, 5), torch.randn(3, 4, 3, 4, 5), torch.randn(3, 5)
    regions, classes = torch.randint(0, 4, (3, 1, 3, 4, 5)), torch.tensor([4, 0, 2])
    expected = functional.cross_entropy(mask, regions[:, 0]) + 0.4 * functional.cross_entropy(coarse, regions[:, 0])
    expected += functional.cross_entropy(scores, classes)
    torch.testing.assert_close(MultiTaskLoss()(Output(mask, coarse, scores), (regions, classes)), expected)


@pytest.mark.parametrize(
    "options", [{"coarse_weight": 2, "class_weights": [1, 3, 0.2], "jaccard_weight": 1}, {"focal_gamma": 1}]
)
def test_gradient_in_float64(options):
    torch.manual_seed(0)
    loss = MultiTaskLoss(**options)
    parts = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in [(2, 2, 3, 2)] * 2 + [(2, 3)]]
    truth = MultiTaskTarget((torch.rand(2, 1, 3, 2) > 0.5).float(), torch.tensor([2, 1]))
    assert torch.autograd.gradcheck(lambda *logits: loss(Output(*logits), truth), parts)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    torch.manual_seed(0)
    half = Output(torch.randn(2, 2, 9, 9).to(dtype), torch.randn(2, 2, 9, 9).to(dtype), torch.randn(2, 3).to(dtype))
    truth, loss = MultiTaskTarget(torch.randint(0, 2, (2, 1, 9, 9)), torch.tensor([0, 2])), MultiTaskLoss()
    with torch.autocast("cpu", torch.bfloat16):
        result = loss(half, truth)
    assert result.dtype == torch.float32
    assert torch.equal(result, loss(Output(*(part.float() for part in half)), truth))


BAD_OPTIONS = [
    ({"coarse_weight": -0.4}, r"got -0\.4, 1\.0, 1\.0, 0\.0"),
    ({"classification_weight": math.nan}, r"got 0\.4, 1\.0, nan, 0\.0"),
    ({"segmentation_weight": 0, "classification_weight": 0}, "not both 0"),
    ({"class_weights": [1, 0, 1]}, r"got \[1, 0, 1\]"),
    ({"class_weights": [1, 2]}, "2 values for 3 classes"),
    ({"focal_gamma": 0.5}, "got 0.5"),
]
BAD_TARGETS = [
    (SINGLE_TASK, target(0), "classification_weight"),
    (OUTPUT, target(None), r"\(1, 3\).*classification_weight"),
    (OUTPUT, target(3), r"from 0 to 2, got \[3\]"),
    (OUTPUT, target(1.0), r"torch\.float32"),
    (OUTPUT, MultiTaskTarget(MASK, torch.tensor([1, 1])), r"\(1, 3\) and \(2,\)"),
    (OUTPUT, target(0, 255 * MASK), "from 0 to 1, got values from 0 to 255"),
    (OUTPUT, target(0, 0.5 * MASK), r"got values from 0 to 0\.5"),
    (OUTPUT, target(0, MASK[:, 0]), r"\(1, 2, 1, 2\) and \(1, 1, 2\)"),
    (OUTPUT._replace(mask=torch.zeros(1, 1, 1, 2)), target(0), r"got \(1, 1, 1, 2\)"),
    (OUTPUT._replace(class_logits=torch.zeros(1, 1)), target(0), r"got \(1, 1\)"),
]


@pytest.mark.parametrize(
    ("options", "output", "truth", "message"),
    [
        *((options, OUTPUT, target(0), message) for options, message in BAD_OPTIONS),
        *(({}, *case) for case in BAD_TARGETS),
    ],
)
def test_what_does_not_fit_is_quoted(options, output, truth, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskLoss(**options)(output, truth)


@pytest.mark.parametrize("truth", [(1, 0), (0, 1), (0, 0), (1, 1)])
def test_with_jaccard_the_mask_is_judged_as_han_is(truth):
    logit = torch.tensor([[[[0.0, math.log(3)]]]])
    mask = torch.tensor(truth, dtype=torch.float32).view(1, 1, 1, 2)
    output = Output(torch.cat([0.3 - logit / 2, 0.3 + logit / 2], dim=1), None, None)
    loss = MultiTaskLoss(jaccard_weight=2.0)(output, MultiTaskTarget(mask))
    assert loss.item() == pytest.approx(BCEJaccardLoss(jaccard_weight=2.0)(logit, mask).item(), abs=1e-6)
