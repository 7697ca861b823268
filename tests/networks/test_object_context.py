import math

import pytest
import torch
from hybrid_attention.networks.blocks import ObjectContext


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def block_of(spatial_dims=2, channels=16):
    """A block in float64 whose transforms are far from the identity of a fresh group norm."""
    block = ObjectContext(spatial_dims, channels).double()
    for parameter in block.parameters():
        parameter.data.normal_(0.1, 0.6)
    return block


def transform(unit, groups, vectors):
    """One wide convolution, group norm and ReLU of a list of vectors, number by number."""
    weight = unit.conv.weight.flatten(1).tolist()
    bias = unit.conv.bias.tolist()
    rows = [[sum(w * v for w, v in zip(row, vector, strict=True)) for row in weight] for vector in vectors]
    rows = [[value + b for value, b in zip(row, bias, strict=True)] for row in rows]
    size = len(bias) // groups
    for start in range(0, len(bias), size):
        members = [value for row in rows for value in row[start : start + size]]
        mean = sum(members) / len(members)
        variance = sum((value - mean) ** 2 for value in members) / len(members)
        for row in rows:
            for c in range(start, start + size):
                normal = (row[c] - mean) / math.sqrt(variance + 1e-5)
                row[c] = max(0.0, normal * unit.adn.N.weight[c].item() + unit.adn.N.bias[c].item())
    return rows


def softmax(values):
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def explicit(block, x, regions):
    """Equations 1 to 3 of the paper for one image: x (C, n) and regions (K, n), pixel by pixel."""
    pixels = x.T.tolist()
    degrees = [softmax(row) for row in regions.tolist()]
    channels = range(len(pixels[0]))
    f = [[sum(d * p[c] for d, p in zip(row, pixels, strict=True)) for c in channels] for row in degrees]  # eq. 1
    queries, keys = transform(block.query, 8, pixels), transform(block.key, 1, f)
    values = transform(block.value, 1, f)
    mixed = []
    for query in queries:
        likeness = [sum(a * b for a, b in zip(query, key, strict=True)) / math.sqrt(len(key)) for key in keys]
        relation = softmax(likeness)  # eq. 2
        mixed.append([sum(w * v[c] for w, v in zip(relation, values, strict=True)) for c in range(len(query))])
    return torch.tensor(transform(block.context, 8, mixed), dtype=torch.float64).T  # eq. 3


@pytest.mark.parametrize(
    ("spatial_dims", "size", "regions"), [(2, (3, 5), 2), (2, (4, 2), 3), (2, (1, 1), 2), (3, (2, 3, 2), 2)]
)
def test_equals_the_equations_pixel_by_pixel(spatial_dims, size, regions):
    block = block_of(spatial_dims)
    x = torch.randn(2, 16, *size, dtype=torch.float64)
    logits = 2 * torch.randn(2, regions, *size, dtype=torch.float64)
    context = block(x, logits)
    assert context.shape == x.shape
    for image, maps, result in zip(x.flatten(2), logits.flatten(2), context.flatten(2), strict=True):
        torch.testing.assert_close(result, explicit(block, image, maps), rtol=1e-9, atol=1e-9)
    if size != (1, 1):
        assert context.std() > 0.1


def test_a_region_is_the_mean_of_its_pixels():
    block, seen = block_of(), []
    block.value.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.randn(1, 16, 4, 6, dtype=torch.float64)
    inside = torch.zeros(4, 6, dtype=torch.bool)
    inside[1:3, 2:5] = True
    logits = torch.stack([torch.where(inside, -1e3, 0.0), torch.where(inside, 0.0, -1e3)])[None].double()
    block(x, logits)
    torch.testing.assert_close(seen[0][0, :, 0], x[0][:, ~inside].mean(1))
    torch.testing.assert_close(seen[0][0, :, 1], x[0][:, inside].mean(1))


def test_adding_to_a_whole_map_changes_nothing_as_it_is_normalised_over_the_pixels():
    block = block_of()
    x, logits = torch.randn(1, 16, 4, 4, dtype=torch.float64), torch.randn(1, 2, 4, 4, dtype=torch.float64)
    shifted = logits + torch.tensor([3.0, -2.0]).double()[:, None, None]
    torch.testing.assert_close(block(x, shifted), block(x, logits))


def test_context_follows_the_pixels_and_the_regions():
    block = block_of()
    x, logits = torch.randn(1, 16, 4, 4, dtype=torch.float64), torch.randn(1, 2, 4, 4, dtype=torch.float64)
    plain = block(x, logits)
    assert (block(x, 3 * logits) - plain).abs().max() > 0.01  # other regions
    assert (block(x, logits.flip(1)) - plain).abs().max() < 1e-9  # their order doesn't matter
    assert (block(x.flip(3), logits.flip(3)) - plain.flip(3)).abs().max() < 1e-9  # nor does the place
    assert plain.flatten(2).std(dim=2).max() > 0.1


def test_gradients_are_those_of_finite_differences():
    block = block_of()
    x = torch.randn(1, 16, 2, 2, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x, logits))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("channels", [16, 64])
def test_parameter_count(spatial_dims, channels):
    half = channels // 2
    inner, outer = channels * half + 3 * half, half * channels + 3 * channels
    count = sum(p.numel() for p in ObjectContext(spatial_dims, channels).parameters())
    assert count == 3 * inner + outer == 2 * channels**2 + 15 * channels // 2


@pytest.mark.parametrize("channels", [0, 8, 24])
def test_width_that_does_not_fit_is_refused(channels):
    with pytest.raises(ValueError, match=f"multiple of 16, got {channels}"):
        ObjectContext(2, channels)


def test_half_precision_stays_near_float32_over_many_pixels():
    block = ObjectContext(2, 32)
    x, logits = torch.randn(2, 32, 96, 96), torch.randn(2, 2, 96, 96)
    with torch.no_grad():
        expected = block(x, logits)
        with torch.autocast("cpu", torch.bfloat16):
            context = block(x.contiguous(memory_format=torch.channels_last), logits)
    assert context.dtype == torch.bfloat16
    assert (context.float() - expected).abs().mean() < 0.02 * expected.abs().max()
