import pytest
import torch
from hybrid_attention.networks.blocks import CBAM, ChannelGate, SpatialGate


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(("channels", "parameters"), [(512, 65_634), (256, 16_482), (128, 4_194), (64, 1_122)])
def test_parameter_count(channels, parameters):
    assert sum(p.numel() for p in CBAM(2, channels).parameters()) == parameters


@pytest.mark.parametrize(("spatial_dims", "shape"), [(2, (2, 8, 7, 5)), (2, (1, 8, 1, 1)), (3, (2, 8, 3, 5, 4))])
def test_keeps_the_shape_and_gates_each_value_between_zero_and_one(spatial_dims, shape):
    x = torch.rand(shape) + 0.1
    share = CBAM(spatial_dims, 8)(x) / x
    assert share.shape == shape
    assert share.min() > 0
    assert share.max() < 1


def test_channel_gate_by_hand():
    """Two channels, hidden width one: hidden = relu(x0 + 2 x1), gate = sigmoid(hidden), sigmoid(-hidden)."""
    gate = ChannelGate(2, 2, reduction=2)
    gate.mlp[0].weight.data = torch.tensor([[1.0, 2.0]]).view(1, 2, 1, 1)
    gate.mlp[2].weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    x = torch.tensor([[[0.0, 1.0], [2.0, 1.0]], [[-1.0, -1.0], [-1.0, 1.0]]]).unsqueeze(0)
    # means 1 and -0.5: relu(0) = 0; maxima 2 and 1: relu(4) = 4
    strength = torch.sigmoid(torch.tensor([4.0, -4.0])).view(1, 2, 1, 1)
    torch.testing.assert_close(gate(x), x * strength)


def test_spatial_gate_sees_mean_and_maximum_over_the_channels_seven_wide():
    gate = SpatialGate(2)
    x = torch.zeros(1, 2, 9, 9)
    x[0, :, 4, 4] = torch.tensor([4.0, -2.0])  # mean 1, maximum 4
    torch.nn.init.zeros_(gate.conv.weight)
    gate.conv.weight.data[0, 0] = 1.0  # every mean in reach
    gate.conv.weight.data[0, 1, 3, 3] = 0.5  # the maximum on the spot
    summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
    logits = gate.conv(summary)[0, 0]
    assert logits[4, 4] == 1 + 2
    assert logits[1, 1] == logits[7, 4] == 1
    assert logits[0, 4] == logits[4, 8] == 0
    torch.testing.assert_close(gate(x)[0, :, 4, 4], torch.tensor([4.0, -2.0]) * torch.sigmoid(torch.tensor(3.0)))


def test_channels_come_before_positions():
    block = CBAM(2, 8)
    x = torch.randn(2, 8, 6, 5)
    torch.testing.assert_close(block(x), block.spatial_gate(block.channel_gate(x)))
    assert not torch.allclose(block(x), block.channel_gate(block.spatial_gate(x)))


def test_a_width_that_cannot_be_reduced_is_refused():
    with pytest.raises(ValueError, match="multiple of reduction=8, got 12"):
        CBAM(2, 12)


def test_scripted_and_exported_equal_eager_at_other_sizes():
    block = CBAM(2, 8)
    dim = torch.export.Dim
    sizes = {0: dim("batch", max=64), 2: dim("height", max=64), 3: dim("width", max=64)}
    exported = torch.export.export(block, (torch.rand(2, 8, 6, 4),), dynamic_shapes=(sizes,)).module()
    x = torch.randn(3, 8, 5, 7)
    for form in (torch.jit.script(block), exported):
        torch.testing.assert_close(form(x), block(x))
