import pytest
import torch
from hybrid_attention.networks.blocks import NonLocal
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def explicit(block, x):
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


@pytest.mark.parametrize("channels", [512, 256, 128, 64])
def test_parameter_count(channels):
    count = sum(p.numel() for p in NonLocal(2, channels).parameters())
    assert count == 3 * (channels + 1) * channels // 2 + (channels // 2 + 1) * channels
    assert count == 2 * channels**2 + 5 * channels // 2


@pytest.mark.parametrize(("spatial_dims", "shape"), [(2, (2, 6, 5, 7)), (2, (1, 6, 1, 1)), (3, (2, 6, 3, 4, 2))])
def test_output_and_gradients_equal_the_explicit_softmax(spatial_dims, shape):
    block = NonLocal(spatial_dims, 6).double()
    for part in (block.theta, block.phi):
        part.weight.data *= 5  # far from the plain mean over all positions
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    outputs = [block(x), explicit(block, x)]
    torch.testing.assert_close(*outputs)
    inputs = [x, *block.parameters()]
    weights = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(*(torch.autograd.grad((y * weights).sum(), inputs) for y in outputs))


def test_gradients_are_those_of_finite_differences():
    block = NonLocal(2, 4).double()
    x = torch.randn(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, x)


def largest(function, x, dtype):
    with LargestTensor() as seen, torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        function(x).float().square().mean().backward()
    return seen.elements


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [64, 512])
def test_the_map_between_positions_is_never_held(channels, dtype, memory_format):
    """1024 positions: their map has 2^20 entries a picture, and nothing else comes near that."""
    block = NonLocal(2, channels)
    x = torch.randn(1, channels, 32, 32, requires_grad=True).to(memory_format=memory_format)
    assert largest(block, x, dtype) <= 1024 * channels
    assert largest(lambda y: explicit(block, y), x, dtype) == 2**20  # the measure sees the map where there is one


def test_one_bright_position_is_seen_from_everywhere():
    block = NonLocal(2, 2)
    dark = torch.zeros(1, 2, 9, 9)
    bright = dark.clone()
    bright[0, :, 0, 0] = 3.0
    change = (block(bright) - block(dark))[0]
    assert change.abs().amin(dim=(1, 2)).min() > 1e-4


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match=r"even.*got 7"):
        NonLocal(2, 7)
