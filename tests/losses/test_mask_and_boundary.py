import pytest
import torch
from hybrid_attention.losses import BCEJaccardLoss, MaskAndBoundaryLoss, mask_boundary

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


def drawn(text):
    return torch.tensor([[float(pixel == "#") for pixel in line.strip()] for line in text.split()])[None, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool])
def test_boundary_is_one_pixel_on_both_sides_and_not_along_the_border_of_the_image(dtype):
    boundary = mask_boundary(drawn(MASK).to(dtype))
    assert boundary.dtype == dtype
    assert torch.equal(boundary.float(), drawn(BOUNDARY))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_uniform_masks_have_no_boundary(value):
    assert (mask_boundary(torch.full((2, 1, 4, 5), value)) == 0).all()


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


def test_gradients():
    target = (torch.rand(1, 1, 3, 4) > 0.5).double()
    maps = [torch.randn(1, count, 3, 4, dtype=torch.float64, requires_grad=True) for count in (2, 3)]
    loss = MaskAndBoundaryLoss(BCEJaccardLoss())
    assert torch.autograd.gradcheck(lambda *parts: loss(parts, target), maps)
