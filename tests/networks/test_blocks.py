"""The blocks by hand: CBAM, depthwise separable convolution, group norm, SFEB, TAM, non-local and object context."""

import math

import pytest
import torch
from hybrid_attention.networks import with_group_norm
from hybrid_attention.networks.baselines import flexible_unet
from hybrid_attention.networks.blocks import (
    GSA,
    SFEB,
    TSA,
    AxialPositionEmbedding,
    ChannelGate,
    NonLocal,
    ObjectContext,
    SpatialGate,
)
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


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


def test_whole_network_does_without_batch_norm():
    plain, network = flexible_unet(), with_group_norm(flexible_unet())
    norms = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    groups = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [(one.num_channels, one.eps) for one in groups] == [(one.num_features, one.eps) for one in norms]
    assert {norm.momentum for norm in norms} == {0.1}  # MONAI's EfficientNet has 0.01


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


@pytest.mark.parametrize("form", [nn.Identity(), torch.jit.script])
def test_training_with_one_image_says_what_to_do(form):
    block, x = form(SFEB(2, 4)), torch.rand(1, 4, 6, 6)
    with pytest.raises((ValueError, torch.jit.Error), match=r"at least 2.*eval\(\)"):
        block(x)
    assert block(torch.rand(2, 4, 6, 6)).shape == (2, 4, 6, 6)
    assert block.eval()(x).shape == x.shape


@pytest.mark.parametrize(("dims", "channels", "widths"), [(2, 6, [3, 3]), (3, 8, [3, 3, 2])])
def test_each_axis_has_its_share_of_the_channels(dims, channels, widths):
    position = AxialPositionEmbedding(dims, channels, grid=4)
    assert [axis.shape[1] for axis in position.axes] == widths
    added = position(torch.zeros(1, channels, *[4] * dims))[0]
    for place in torch.cartesian_prod(*[torch.arange(4)] * dims).tolist():
        expected = torch.cat([axis[0, :, at] for axis, at in zip(position.axes, place, strict=True)])
        torch.testing.assert_close(added[(slice(None), *place)], expected)


@pytest.mark.parametrize(("scale", "heads"), [("positions", 1), ("positions", 2), ("channels", 1), ("channels", 2)])
def test_channel_attention_equals_an_explicit_softmax(scale, heads):
    block, x = TSA(2, 6, heads, scale), torch.randn(2, 6, 5, 4)
    width = 6 // heads
    q, k, v = (part(x).flatten(2).split(width, dim=1) for part in (block.query, block.key, block.value))
    root = math.sqrt(20 if scale == "positions" else width)
    expected = [(a @ b.transpose(1, 2) / root).softmax(-1) @ c for a, b, c in zip(q, k, v, strict=True)]
    torch.testing.assert_close(block(x).flatten(2), torch.cat(expected, dim=1))


@pytest.mark.parametrize("heads", [1, 2])
def test_spatial_attention_equals_an_explicit_softmax(heads):
    block, x = GSA(2, 8, heads).eval(), torch.randn(2, 8, 3, 4)
    q, k, v = (part(x).flatten(2).chunk(heads, dim=1) for part in (block.query, block.key, block.value))
    maps = [(a.transpose(1, 2) @ b / math.sqrt(4 / heads)).softmax(-1) for a, b in zip(q, k, strict=True)]
    assert maps[0].std() > 1e-3
    mixed = [torch.einsum("bij,bcj->bci", one, c) for one, c in zip(maps, v, strict=True)]
    torch.testing.assert_close(block(x).flatten(2), torch.cat(mixed, dim=1))


def non_local_explicit(block, x):
    """Equations 1 to 6 of the paper, with the whole map in memory."""
    theta, phi, g = (part(x).flatten(2) for part in (block.theta, block.phi, block.g))
    attention = torch.einsum("bci,bcj->bij", theta, phi).softmax(-1)
    mixed = torch.einsum("bij,bcj->bci", attention, g)
    return x + block.w(mixed.unflatten(2, x.shape[2:]))


class LargestTensor(TorchDispatchMode):
    """Notes the largest number of elements that any operation returns, in the backward pass too."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


@pytest.mark.parametrize(("spatial_dims", "shape"), [(2, (2, 6, 5, 7)), (2, (1, 6, 1, 1)), (3, (2, 6, 3, 4, 2))])
def test_non_local_and_its_gradients_equal_the_explicit_softmax(spatial_dims, shape):
    block = NonLocal(spatial_dims, 6).double()
    for part in (block.theta, block.phi):
        part.weight.data *= 5  # far from the plain mean over all positions
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    outputs = [block(x), non_local_explicit(block, x)]
    torch.testing.assert_close(*outputs)
    inputs = [x, *block.parameters()]
    weights = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(*(torch.autograd.grad((y * weights).sum(), inputs) for y in outputs))


def largest(function, x, dtype):
    with LargestTensor() as seen, torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        function(x).float().square().mean().backward()
    return seen.elements


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_map_between_positions_is_never_held(dtype, memory_format):
    """1024 positions: their map has 2^20 entries per image, and nothing else comes near that."""
    block = NonLocal(2, 64)
    x = torch.randn(1, 64, 32, 32, requires_grad=True).to(memory_format=memory_format)
    assert largest(block, x, dtype) <= 1024 * 64
    explicit = largest(lambda y: non_local_explicit(block, y), x, dtype)
    assert explicit == 2**20  # the measure sees the map where there is one


def object_context_explicit(block, x, regions):
    """Equations 1 to 3 of the paper for one image: x (C, n) and regions (K, n)."""

    def unit(part, y, groups):
        y = part.conv.weight.flatten(1) @ y + part.conv.bias[:, None]
        return functional.group_norm(y[None], groups, part.adn.N.weight, part.adn.N.bias)[0].relu()

    f = x @ regions.softmax(1).T  # eq. 1, (C, K)
    likeness = unit(block.query, x, 8).T @ unit(block.key, f, 1) / math.sqrt(len(x) / 2)
    return unit(block.context, unit(block.value, f, 1) @ likeness.softmax(1).T, 8)  # eq. 2 and 3


@pytest.mark.parametrize(("spatial_dims", "size", "regions"), [(2, (3, 5), 2), (2, (4, 2), 3), (3, (2, 3, 2), 2)])
def test_object_context_equals_the_equations(spatial_dims, size, regions):
    block = ObjectContext(spatial_dims, 16).double()
    for parameter in block.parameters():
        parameter.data.normal_(0.1, 0.6)  # far from the identity of a fresh group norm
    x = torch.randn(2, 16, *size, dtype=torch.float64)
    logits = 2 * torch.randn(2, regions, *size, dtype=torch.float64)
    context = block(x, logits)
    assert context.shape == x.shape
    for image, maps, result in zip(x.flatten(2), logits.flatten(2), context.flatten(2), strict=True):
        torch.testing.assert_close(result, object_context_explicit(block, image, maps), rtol=1e-9, atol=1e-9)
    assert context.std() > 0.1
