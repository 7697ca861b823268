import math
from itertools import product

import pytest
import torch
from hybrid_attention import networks
from hybrid_attention.explain import attention_maps, attention_numbers
from hybrid_attention.networks.blocks.attention import CBAM, NonLocal, ObjectContext
from hybrid_attention.networks.blocks.sfeb import SFEB
from hybrid_attention.networks.blocks.tam import GSA, TSA
from monai.networks.nets.attentionunet import AttentionBlock
from torch import nn
from torch.testing import assert_close

PIXEL, SIZE = (2, 4), (5, 6)
AT = (..., *PIXEL)


def alone(block):
    """A network of one block, with weights far enough from zero for maps that are not flat."""
    torch.manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return nn.Sequential(block).eval()


@pytest.fixture
def x():
    return torch.randn(2, 16, *SIZE, generator=torch.Generator().manual_seed(1))


def test_tsa_mixes_the_channels_and_gsa_the_positions_by_its_map(x):
    for heads, scale in product((1, 2), ("positions", "channels")):
        network = alone(TSA(2, 16, heads, scale))
        received = attention_maps(network, x)["0"]
        assert received.shape == (2, 16) and received.std() > 0.01
        mixed = (received[:, :, None, None] * network[0].value(x)).sum(1)
        assert_close(network(x).mean(1), mixed, atol=1e-4, rtol=1e-4)

    network = alone(GSA(2, 16))
    value, output = network[0].value(x), network(x)
    received, row = (attention_maps(network, x, pixel)["0"] for pixel in (None, PIXEL))
    assert received.shape == row.shape == (2, 1, *SIZE)
    assert_close((received * value).sum((2, 3)), output.mean((2, 3)))
    assert_close((row * value).sum((2, 3)), output[AT])
    assert row.std() > 0.001
    assert_close(attention_maps(alone(GSA(2, 16, num_heads=2)), x, PIXEL)["0"].sum((2, 3)), torch.ones(2, 1))

    network = alone(NonLocal(2, 16))
    row = attention_maps(network, x, PIXEL)["0"]
    mixed = network[0].w((row * network[0].g(x)).sum((2, 3), keepdim=True))[..., 0, 0]
    assert_close(x[AT] + mixed, network(x)[AT])


def test_coefficients_of_gates(x):
    cbam, sfeb = alone(CBAM(2, 16)), alone(SFEB(2, 16))
    maps = attention_maps(cbam, x)
    assert list(maps) == ["0.channel_gate", "0.spatial_gate"]
    assert_close(x * maps["0.channel_gate"][:, :, None, None] * maps["0.spatial_gate"], cbam(x))
    maps = attention_maps(sfeb, x)
    assert_close(maps["0"], (sfeb(x) - x).mean(1, keepdim=True), atol=1e-5, rtol=1e-5)
    assert_close(maps["0.gate"][:, :, None, None], sfeb[0].gate(x.mean((2, 3), keepdim=True)))


class Pair(nn.Module):
    def __init__(self, block, *names):
        super().__init__()
        self.block, self.names = alone(block)[0], names

    def forward(self, x):
        both = x[:, :16], x[:, 16:]
        return self.block(**dict(zip(self.names, both, strict=True))) if self.names else self.block(*both)


def test_blocks_with_two_inputs(x):
    both = torch.cat([x, 2 + x[:, :2]], 1)
    for names in ((), ("g", "x")):
        network = Pair(AttentionBlock(2, 4, 16, 2), *names).eval()
        assert_close(attention_maps(network, both)["block"] * both[:, 16:], network(both))
    maps = attention_maps(Pair(ObjectContext(2, 16)), both)
    assert list(maps) == ["block.region_0", "block.region_1"]
    for index, region in enumerate(maps.values()):
        assert_close(region.flatten(1), both[:, 16 + index].flatten(1).softmax(1))


@pytest.mark.parametrize(
    ("make", "options", "channels", "names", "count"),
    [
        (networks.HybridAttentionNet, {}, 3, ["bottleneck.tam.tsa", "bottleneck.tam.gsa", "decoder.2.enhance"], 10),
        (networks.TripleEncoderUNet, {}, 3, ["decoder.3.attention.spatial_gate"], 8),
        (networks.TripleEncoderUNet, {"attention": "non_local"}, 3, ["decoder.0.attention"], 4),
        (networks.DeepAttentionUNet, {}, 1, ["decoder.3.gate"], 4),
        (networks.MultiTaskOCANet, {}, 2, ["refine.context.region_1"], 2),
        (networks.HybridLiteNet, {"sfeb": True, "tam": True}, 1, ["tam.gsa", "decoder.0.enhance.gate"], 10),
        (networks.baselines.attention_unet, {}, 3, ["network.model.1.attention"], 4),
    ],
)
def test_networks(make, options, channels, names, count):
    network = make(**options).train()
    maps = attention_maps(network, torch.rand(2, channels, 64, 96))
    assert len(maps) == count and set(names) <= set(maps)
    for attention in maps.values():
        assert attention.shape[0] == 2 and (attention.dim() == 2 or attention.shape[1:] == (1, 64, 96))
        assert (attention >= 0).all() and not attention.requires_grad
    assert network.training and not any(module._forward_hooks for module in network.modules())
    assert all(one == 0 for name, one in network.state_dict().items() if name.endswith("num_batches_tracked"))


def test_a_pixel_of_the_image_is_found_at_the_resolution_of_the_block(x):
    network = alone(GSA(2, 16))
    pooled = nn.Sequential(nn.AvgPool2d(2), *network)
    image = torch.randn(1, 16, 8, 12)
    row = attention_maps(network, nn.functional.avg_pool2d(image, 2), pixel=(1, 5))["0"]
    found = attention_maps(pooled, image, pixel=(3, 10))["1"]
    assert_close(found, nn.functional.interpolate(row, scale_factor=2.0, mode="bilinear"))
    for outside in ((5, 0), (0, -1), (0,)):
        with pytest.raises(ValueError, match=r"\(5, 6\)"):
            attention_maps(network, x, outside)
    with pytest.raises(ValueError, match=r"PlainUNet has no attention; .* HybridAttentionNet"):
        attention_maps(networks.PlainUNet(), torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match="eager"):
        attention_maps(torch.jit.script(GSA(2, 16)), torch.rand(1, 16, 4, 4))


def test_numbers():
    for attention, mask, *expected in (
        ([1.0, 1, 2, 0], [0, 1, 1, 0], 0.75, 0.75, 1.5),  # 1.5 of 2 bits
        ([3.0, 3, 3, 3], [0, 0, 0, 1], 1, 0.25, 1),
        ([0.0, 0, 5, 0], [1, 0, 0, 0], 0, 0, 0),
        ([1.0, 1, 1, 1], [0, 0, 0, 0], 1, math.nan, math.nan),
        ([0.0, 0, 0, 0], [1, 0, 0, 0], math.nan, math.nan, math.nan),
    ):
        numbers = attention_numbers(torch.tensor(attention).view(1, 2, 2), torch.tensor(mask).view(1, 2, 2))
        assert [numbers[name] for name in ("entropy", "coverage", "lift")] == pytest.approx(expected, nan_ok=True)
    assert attention_numbers(torch.ones(4))["entropy"] == 1  # of channels
