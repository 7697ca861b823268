import pytest
import torch
from hybrid_attention.networks.blocks import depthwise_separable


@pytest.mark.parametrize(("inside", "outside"), [(2816, 512), (512, 256), (128, 64)])
def test_parameter_count(inside, outside):
    count = sum(p.numel() for p in depthwise_separable(2, inside, outside).parameters())
    assert count == 9 * inside + 2 * inside + inside * outside + 2 * outside


def test_depthwise_part_keeps_the_channels_apart_and_sees_three_pixels_each_way():
    depthwise = depthwise_separable(2, 2, 1).depthwise
    torch.nn.init.ones_(depthwise.conv.weight)
    x = torch.zeros(1, 2, 5, 5)
    x[0, 0, 2, 2] = 1.0
    y = depthwise.conv(x)
    expected = torch.zeros(5, 5)
    expected[1:4, 1:4] = 1.0
    torch.testing.assert_close(y[0, 0], expected)
    assert y[0, 1].abs().max() == 0


def test_both_activations_end_at_six():
    torch.manual_seed(0)
    block = depthwise_separable(3, 2, 4).eval()
    for part in block:
        torch.nn.init.constant_(part.adn.N.weight, 100.0)
    x = torch.randn(1, 2, 4, 5, 3)
    inner = block.depthwise(x)
    outer = block(x)
    assert outer.shape == (1, 4, 4, 5, 3)
    for y in (inner, outer):
        assert y.min() == 0
        assert y.max() == 6
