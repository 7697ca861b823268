import pytest
import torch
from hybrid_attention.networks import HybridLiteNet
from hybrid_attention.networks.blocks.sfeb import SFEB
from hybrid_attention.networks.blocks.tam import TAM


def count(**options):
    return sum(parameter.numel() for parameter in HybridLiteNet(**options).parameters())


def test_parameters():
    encoder = 2_958_848 - 2 * 9 * 32  # one input channel instead of three
    widths = [(320 + 112, 128), (128 + 40, 64), (64 + 24, 32), (32 + 16, 16)]
    decoder = sum(9 * before * after + 9 * after * after + 6 * after for before, after in widths)
    heads = (16 * 2 + 2) + (2 * 320 * 320 + 320) + (320 * 3 + 3)
    assert count() == encoder + decoder + heads == 3_988_357
    assert count(num_classes=None) == encoder + decoder + 16 * 2 + 2


def test_flags_add_blocks():
    assert count(tam=True) - count() == sum(p.numel() for p in TAM(2, 320, grid=8).parameters())
    added = sum(p.numel() for skip in (16, 24, 40, 112) for p in SFEB(2, skip).parameters())
    assert count(sfeb=True) - count() == added


@pytest.mark.parametrize("size", [(64, 96), (45, 77)])
def test_shapes(size):
    output = HybridLiteNet(encoder="lite2", tam=True, sfeb=True).eval()(torch.rand(2, 1, *size))
    assert output.mask.shape == (2, 2, *size)
    assert output.coarse_mask is None
    assert output.class_logits.shape == (2, 3)


@pytest.mark.parametrize("field", ["mask", "class_logits"])
def test_both_tasks_reach_the_whole_encoder(field):
    network = HybridLiteNet(drop=0.0)
    getattr(network(torch.rand(2, 1, 64, 64)), field).square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.encoder.parameters() if parameter.ndim > 1)


def test_images_are_turned_for_the_encoder():
    """The package's images are (W, H); the encoder's weights know (H, W)."""
    network = HybridLiteNet().eval()
    seen = []
    network.encoder.register_forward_hook(lambda module, inputs, outputs: seen.append(inputs[0]))
    x = torch.rand(1, 1, 64, 96)
    network(x)
    assert torch.equal(seen[0], x.transpose(2, 3))


def test_gradcam_sees_the_package_s_axes():
    network = HybridLiteNet().eval()
    shapes = []
    network.get_submodule(network.gradcam_layer).register_forward_hook(lambda *call: shapes.append(call[2].shape))
    network(torch.rand(1, 1, 64, 96))
    assert shapes == [(1, 320, 2, 3)]


@torch.no_grad()
def test_scripted_equals_eager():
    network = HybridLiteNet(tam=True, sfeb=True).eval()
    x = torch.rand(1, 1, 64, 96)
    scripted, eager = torch.jit.script(network)(x), network(x)
    torch.testing.assert_close(scripted.mask, eager.mask)
    torch.testing.assert_close(scripted.class_logits, eager.class_logits)


@torch.no_grad()
def test_bfloat16_in_training_keeps_depthwise_convolutions_in_float32():
    torch.manual_seed(0)
    network = HybridLiteNet(drop=0.0)
    kinds = set()
    for name, module in network.encoder.named_modules():
        if name.endswith("depthwise_conv"):
            module.register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.rand(2, 1, 64, 64))
    assert kinds == {torch.float32}


def test_errors():
    with pytest.raises(ValueError, match=r"channels .*\[16, 8\]"):
        HybridLiteNet(channels=(16, 8))
    with pytest.raises(ValueError, match="32"):
        HybridLiteNet()(torch.rand(1, 1, 16, 64))
    with pytest.raises(ValueError, match="num_classes"):
        HybridLiteNet(num_classes=1)
