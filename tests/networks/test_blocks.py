"""The blocks by hand: CBAM, depthwise separable convolution, group norm, SFEB and TAM."""

import math

import pytest
import torch
from hybrid_attention.networks import with_group_norm
from hybrid_attention.networks.baselines import flexible_unet
from hybrid_attention.networks.blocks import (
    CBAM,
    GSA,
    SFEB,
    TAM,
    TSA,
    AxialPositionEmbedding,
    ChannelGate,
    SpatialGate,
    conv_group_norm,
    depthwise_separable,
)
from torch import nn
from torch.nn import functional


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("block", "parameters"),
    [
        *((CBAM(2, c), n) for c, n in ((512, 65_634), (256, 16_482), (128, 4_194), (64, 1_122))),
        *((SFEB(2, c), 28 * c**2 + 9 * c) for c in (8, 64, 256)),
        *((depthwise_separable(2, i, o), 11 * i + i * o + 2 * o) for i, o in ((2816, 512), (512, 256), (128, 64))),
        (TAM(2, 256, 64, 16), 88_384),
    ],
    ids=lambda value: type(value).__name__,
)
def test_parameter_counts(block, parameters):
    assert count(block) == parameters


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (CBAM(2, 8), (2, 8, 7, 5)),
        (CBAM(2, 8), (1, 8, 1, 1)),
        (CBAM(3, 8), (2, 8, 3, 5, 4)),
        *((SFEB(2, 6, pooling), (2, 6, 7, 5)) for pooling in ("local", "global")),
        *((SFEB(3, 6, pooling), (2, 6, 4, 5, 3)) for pooling in ("local", "global")),
        (TAM(2, 24, 8).eval(), (2, 24, 16, 16)),
        (TAM(2, 24, 8).eval(), (1, 24, 5, 9)),
        (TAM(2, 24, 8).eval(), (1, 24, 1, 1)),
        (TAM(3, 24, 8).eval(), (1, 24, 3, 4, 5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keeps_the_shape(block, shape):
    assert block(torch.rand(shape)).shape == shape


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CBAM(2, 12), "reduction=8, got 12"),
        (lambda: SFEB(2, 4, "median"), r"'local', 'global'.*got 'median'"),
        (lambda: GSA(2, 7), "multiple.*got 7"),
        (lambda: AxialPositionEmbedding(3, 2), "spatial_dims=3, got 2"),
        (lambda: conv_group_norm(2, 4, 12), "multiple of 8.*got 12"),
        (lambda: with_group_norm(nn.Conv2d(3, 8, 3)), "Conv2d"),
    ],
)
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# ---- CBAM


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
    nn.init.zeros_(gate.conv.weight)
    gate.conv.weight.data[0, 0] = 1.0  # every mean in reach
    gate.conv.weight.data[0, 1, 3, 3] = 0.5  # the maximum on the spot
    summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
    logits = gate.conv(summary)[0, 0]
    assert logits[4, 4] == 1 + 2
    assert logits[1, 1] == logits[7, 4] == 1
    assert logits[0, 4] == logits[4, 8] == 0
    torch.testing.assert_close(gate(x)[0, :, 4, 4], torch.tensor([4.0, -2.0]) * torch.sigmoid(torch.tensor(3.0)))


def test_channels_come_before_positions_and_both_gates_lie_between_zero_and_one():
    block, x = CBAM(2, 8), torch.rand(2, 8, 6, 5) + 0.1
    torch.testing.assert_close(block(x), block.spatial_gate(block.channel_gate(x)))
    assert not torch.allclose(block(x), block.channel_gate(block.spatial_gate(x)))
    share = block(x) / x
    assert 0 < share.min() and share.max() < 1


# ---- depthwise separable convolution


def test_depthwise_part_keeps_the_channels_apart_and_sees_three_pixels_each_way():
    depthwise = depthwise_separable(2, 2, 1).depthwise
    nn.init.ones_(depthwise.conv.weight)
    x = torch.zeros(1, 2, 5, 5)
    x[0, 0, 2, 2] = 1.0
    y = depthwise.conv(x)
    expected = torch.zeros(5, 5)
    expected[1:4, 1:4] = 1.0
    torch.testing.assert_close(y[0, 0], expected)
    assert y[0, 1].abs().max() == 0


def test_both_activations_end_at_six():
    block = depthwise_separable(3, 2, 4).eval()
    for part in block:
        nn.init.constant_(part.adn.N.weight, 100.0)
    x = torch.randn(1, 2, 4, 5, 3)
    for y in (block.depthwise(x), block(x)):
        assert (y.min(), y.max()) == (0, 6)


# ---- group norm in place of batch norm


def test_whole_network_does_without_batch_norm():
    plain, network = flexible_unet(), with_group_norm(flexible_unet())
    norms = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    groups = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert not [module for module in network.modules() if "BatchNorm" in type(module).__name__]
    assert [(one.num_channels, one.eps) for one in groups] == [(one.num_features, one.eps) for one in norms]
    assert count(network) == count(plain)
    assert network.gradcam_layer == plain.gradcam_layer


def test_one_image_gives_what_it_gives_in_a_batch():
    network = with_group_norm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=0.5)), groups=2).train()
    images = torch.rand(4, 3, 9, 9)
    torch.testing.assert_close(network(images)[:1], network(images[:1]))
    features = network[0](images)
    grouped = features.reshape(4, 2, -1)
    expected = (grouped - grouped.mean(-1, keepdim=True)) / (grouped.var(-1, unbiased=False, keepdim=True) + 0.5).sqrt()
    torch.testing.assert_close(network(images), expected.reshape(features.shape))


def test_channels_that_groups_do_not_divide_leave_the_network_as_it_is():
    network = nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(12))
    with pytest.raises(ValueError, match="1 has 12 channels"):
        with_group_norm(network)
    assert isinstance(network[0], nn.BatchNorm2d)


# ---- SFEB


def randomised(block):
    """Give every batch norm statistics and affine parameters that it does not have at birth."""
    for part in block.eval().modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, 0.5, 1.0)
    return block


@pytest.mark.parametrize("pooling", ["local", "global"])
def test_without_the_fused_features_only_the_residual_is_left(pooling):
    block, x = randomised(SFEB(2, 4, pooling)), torch.randn(1, 4, 6, 5)
    assert not torch.allclose(block(x), x)
    nn.init.zeros_(block.fuse.adn.N.weight)
    nn.init.zeros_(block.fuse.adn.N.bias)
    assert torch.equal(block(x), x)


def test_gate_scales_each_channel_of_the_fused_features():
    block, x = randomised(SFEB(2, 2)), torch.randn(1, 2, 6, 5)
    nn.init.zeros_(block.gate.adn.N.weight)
    block.gate.adn.N.bias.data = torch.tensor([100.0, 100.0])  # sigmoid 1
    fused = block(x) - x
    block.gate.adn.N.bias.data = torch.log(torch.tensor([1 / 3, 3.0]))  # sigmoid 1/4 and 3/4
    assert fused.abs().amin(dim=1).max() > 0
    torch.testing.assert_close(block(x) - x, fused * torch.tensor([0.25, 0.75]).view(1, 2, 1, 1))


def test_sfeb_is_the_paper_s_formula():
    """Equations 7 to 15 from plain functions, on a batch in training mode."""
    block, x = SFEB(2, 3), torch.randn(2, 3, 5, 4)

    def normalise(y):
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        return (y - mean) / (var + 1e-5).sqrt()

    def conv(unit, y, padding):
        return normalise(functional.conv2d(y, unit.conv.weight, unit.conv.bias, padding=padding))

    first = conv(block.conv, x, 1).relu()
    windows = functional.pad(first, (1, 1, 1, 1), value=float("nan")).unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    pooled = torch.cat([windows.nan_to_num(-1.0).amax(-1), windows.nanmean(-1)], dim=1)
    gate = conv(block.gate, x.mean((2, 3), keepdim=True), 0).sigmoid()
    torch.testing.assert_close(block(x), conv(block.fuse, pooled, 1).relu() * gate + x)


def test_local_pooling_sees_the_neighbourhood_of_one_bright_pixel():
    block = SFEB(2, 1)
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 1, 3] = 9.0
    near = torch.zeros(5, 5)
    near[0:3, 2:5] = 1.0
    torch.testing.assert_close(block.max_pool(x)[0, 0], 9 * near)
    torch.testing.assert_close(block.avg_pool(x)[0, 0, 1:3, 2:4], torch.ones(2, 2))
    torch.testing.assert_close(block.avg_pool(x)[0, 0, 0, 4], torch.tensor(9 / 4))  # a corner has four pixels


@pytest.mark.parametrize(("pool", "shape"), [(nn.AvgPool2d, (2, 3, 5, 4)), (nn.AvgPool3d, (2, 3, 3, 5, 4))])
def test_local_mean_is_average_pooling_without_the_padding(pool, shape):
    x, dims = torch.rand(shape), len(shape) - 2
    mean = SFEB(dims, 3).avg_pool
    torch.testing.assert_close(mean(x), pool(3, stride=1, padding=1, count_include_pad=False)(x))
    narrow = x[(..., *(slice(1),) * (dims - 1), slice(2))]  # PyTorch refuses it in three dimensions
    torch.testing.assert_close(mean(narrow), narrow.mean(-1, keepdim=True).expand_as(narrow))


def test_global_pooling_adds_one_constant_a_channel():
    block, x = randomised(SFEB(2, 3, "global")), torch.randn(1, 3, 6, 5)
    added = block(x) - x
    assert added.abs().max() > 0
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added))
    local = SFEB(2, 3, "local").eval()
    local.load_state_dict(block.state_dict())
    assert (local(x) - x).std(dim=(2, 3)).max() > 1e-3


@pytest.mark.parametrize("form", [nn.Identity(), torch.jit.script])
def test_training_with_one_image_says_what_to_do(form):
    block, x = form(SFEB(2, 4)), torch.rand(1, 4, 6, 6)
    with pytest.raises((ValueError, torch.jit.Error), match=r"at least 2.*eval\(\)"):
        block(x)
    assert block(torch.rand(2, 4, 6, 6)).shape == (2, 4, 6, 6)
    assert block.eval()(x).shape == x.shape


# ---- TAM


def test_parameters_of_the_parts_of_tam():
    parts = {name: count(part) for name, part in TAM(2, 256, 64, 16).named_children()}
    assert parts == {"reduce": 16_576, "position": 1_024, "tsa": 12_288, "gsa": 8_576, "expand": 49_920}


@pytest.mark.parametrize(("dims", "channels", "widths"), [(2, 6, [3, 3]), (3, 8, [3, 3, 2])])
def test_each_axis_has_its_share_of_the_channels(dims, channels, widths):
    position = AxialPositionEmbedding(dims, channels, grid=4)
    assert [axis.shape[1] for axis in position.axes] == widths
    added = position(torch.zeros(1, channels, *[4] * dims))[0]
    for place in torch.cartesian_prod(*[torch.arange(4)] * dims).tolist():
        expected = torch.cat([axis[0, :, at] for axis, at in zip(position.axes, place, strict=True)])
        torch.testing.assert_close(added[(slice(None), *place)], expected)


def test_position_is_interpolated_linearly_for_other_sizes():
    position = AxialPositionEmbedding(2, 2, grid=4)
    position.axes[0].data = torch.tensor([[[0.0, 4.0, 8.0, 12.0]]])
    position.axes[1].data = torch.tensor([[[3.0, 3.0, 3.0, 3.0]]])
    added = position(torch.zeros(1, 2, 8, 5))[0]
    torch.testing.assert_close(added[0, :, 0], torch.tensor([0.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 12.0]))
    torch.testing.assert_close(added[0], added[0, :, :1].expand(8, 5))
    torch.testing.assert_close(added[1], torch.full((8, 5), 3.0))


def test_tsa_scales():
    """Twice as large logits at 16 x 16 positions, the same ones at 8 x 8, for 64 channels."""
    by_positions, by_channels = TSA(2, 64), TSA(2, 64, scale="channels")
    by_channels.load_state_dict(by_positions.state_dict())
    x = torch.randn(1, 64, 8, 8)
    torch.testing.assert_close(by_channels(x), by_positions(x))
    x = torch.randn(1, 64, 16, 16)
    q, k, v = (part(x).flatten(2) for part in (by_channels.query, by_channels.key, by_channels.value))
    expected = torch.softmax(q @ k.transpose(1, 2) / 8, dim=-1) @ v
    torch.testing.assert_close(by_channels(x).flatten(2), expected)
    assert (by_channels(x) - by_positions(x)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [TSA, GSA])
def test_heads_do_not_see_each_other_s_channels(kind):
    """With embeddings that keep channels apart, a change in one head's channels does not reach the other head."""
    block = kind(2, 8, num_heads=2).eval()
    for name in ("query", "key", "value"):
        part = getattr(block, name)
        convolution = (
            part if isinstance(part, nn.Conv2d) else next(m for m in part.modules() if isinstance(m, nn.Conv2d))
        )
        rows = convolution.weight.shape[0] // 2
        convolution.weight.data[:rows, 4:] = 0
        convolution.weight.data[rows:, :4] = 0
    x = torch.randn(1, 8, 5, 4)
    changed = x.clone()
    changed[:, 4:] = torch.randn(1, 4, 5, 4)
    with torch.no_grad():
        before, after = block(x), block(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: TSA(2, 6, num_heads=4), "6 and 4"),
        (lambda: GSA(2, 6, num_heads=2), "6 and 2"),
        (lambda: TSA(2, 6, scale="rows"), "'rows'"),
    ],
)
def test_heads_and_scales_are_checked(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_only_the_position_embedding_tells_places_apart():
    """Without it, a rolled input gives the rolled output; with it, another one."""
    tam, x = TAM(2, 12, 8, grid=6).eval(), torch.randn(1, 12, 6, 6)

    def rolled(y):
        return torch.roll(y, (2, 1), dims=(2, 3))

    with torch.no_grad():
        for axis in tam.position.axes:
            nn.init.normal_(axis)
        assert (tam(rolled(x)) - rolled(tam(x))).abs().max() > 1e-3
        for axis in tam.position.axes:
            axis.zero_()
        torch.testing.assert_close(tam(rolled(x)), rolled(tam(x)))


def test_position_reaches_channel_attention_only():
    tam, x, seen = TAM(2, 12, 8, grid=6).eval(), torch.randn(1, 12, 6, 6), {}
    tam.tsa.register_forward_pre_hook(lambda _, args: seen.update(tsa=args[0]))
    tam.gsa.register_forward_pre_hook(lambda _, args: seen.update(gsa=args[0]))
    tam(x)
    torch.testing.assert_close(seen["gsa"], tam.reduce(x))
    torch.testing.assert_close(seen["tsa"], tam.position(tam.reduce(x)))
    assert not torch.equal(seen["tsa"], seen["gsa"])


def test_channel_attention_equals_loops():
    c, h, w = 3, 2, 4
    tsa, x = TSA(2, c), torch.randn(2, c, h, w)
    q, k, v = (torch.einsum("oi,bihw->bohw", p.weight[:, :, 0, 0], x) for p in (tsa.query, tsa.key, tsa.value))
    expected = torch.zeros_like(x)
    for b in range(2):
        for i in range(c):
            weights = [math.exp((q[b, i] * k[b, j]).sum().item() / math.sqrt(h * w)) for j in range(c)]
            for j in range(c):
                expected[b, i] += weights[j] / sum(weights) * v[b, j]
    torch.testing.assert_close(tsa(x), expected)


def test_spatial_attention_equals_an_explicit_softmax():
    c, h, w = 6, 3, 4
    gsa, x = GSA(2, c).eval(), torch.randn(2, c, h, w)
    q, k, v = gsa.query(x), gsa.key(x), gsa.value(x)
    logits = torch.einsum("bchw,bcyx->bhwyx", q, k) / math.sqrt(c / 2)
    attention = logits.flatten(3).softmax(-1).view_as(logits)
    assert attention.std() > 1e-3
    torch.testing.assert_close(gsa(x), torch.einsum("bhwyx,bcyx->bchw", attention, v))
