"""What is particular to the plain and the deep attention U-Net, to deep supervision and to the baselines of others."""

import sys

import pytest
import torch
from hybrid_attention.networks import DeepAttentionUNet, DeepSupervision, HybridAttentionNet, PlainUNet, baselines
from hybrid_attention.networks.attention_unet import GatedDecoderStage
from monai.losses import DeepSupervisionLoss, DiceLoss
from torch import nn

SLIM = {
    "channels": (4, 8),
    "bottleneck_channels": 6,
    "decoder_channels": (5, 3),
    "encoder_dropout": (0.1, 0.2),
    "decoder_dropout": (0.3, 0.4),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("network", "arguments", "deepest"),
    [
        (PlainUNet, {"channels": (8, 16, 32, 64, 128)}, "encoder.3"),  # no normalisation, so the first weights must
        (DeepAttentionUNet, {"in_channels": 3}, "bottleneck"),
    ],
)
def test_start_carries_the_signal_to_the_deepest_scale(network, arguments, deepest):
    net, seen = network(**arguments), []
    net.get_submodule(deepest).register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        output = net(torch.rand(2, 3, 32, 32))
    one, other = seen[0]
    assert (one - other).std() > 0.05
    assert output.std() < 10


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        (PlainUNet, {"spatial_dims": 4}, "spatial_dims must be 2 or 3, got 4"),
        (DeepAttentionUNet, SLIM | {"decoder_channels": (5, 4, 3)}, "'decoder_channels': 3"),
    ],
)
def test_bad_arguments_are_refused(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        network(**arguments)


def test_parts_of_the_deep_network_are_counted_as_its_docstring_says():
    net = DeepAttentionUNet()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    counts["gates"] = sum(p.numel() for stage in net.decoder for p in stage.gate.parameters())
    counts["decoder"] -= counts["gates"]
    assert counts == {
        "pool": 0, "encoder": 4_688_064, "bottleneck": 4_721_664, "decoder": 4_704_480, "gates": 264_492, "head": 33
    }  # fmt: skip
    assert all(f" {count:,} |" in DeepAttentionUNet.__doc__ for count in counts.values() if count)


def test_each_stage_has_its_own_dropout_and_gate_width():
    net = DeepAttentionUNet()

    def rates(part):
        return [dropout.p for dropout in part.modules() if isinstance(dropout, nn.Dropout)]

    assert [rates(part) for part in net.encoder] == [[0.25], [0.25], [0.3], [0.3]]
    assert rates(net.bottleneck) == [0.3]
    assert [rates(part) for part in net.decoder] == [[0.3], [0.3], [0.25], [0.25]]
    assert [stage.gate.W_x[0].conv.out_channels for stage in net.decoder] == [256, 128, 64, 32]


def test_a_closed_gate_hides_the_skip_and_an_open_one_shows_it_whole():
    gated = GatedDecoderStage(2, 3, 4, 2, 0.0, attention_gate=True).eval()
    plain = GatedDecoderStage(2, 3, 4, 2, 0.0, attention_gate=False).eval()
    plain.load_state_dict(gated.state_dict(), strict=False)
    x, skip = torch.rand(1, 3, 4, 4), torch.rand(1, 4, 8, 7)
    norm = gated.gate.psi[1]
    with torch.no_grad():
        norm.bias.fill_(-100.0)
        torch.testing.assert_close(gated(x, skip), plain(x, torch.zeros_like(skip)))
        norm.bias.fill_(100.0)
        torch.testing.assert_close(gated(x, skip), plain(x, skip))
        norm.bias.fill_(0.0)
        assert not torch.allclose(gated(x, skip), plain(x, skip), atol=1e-3)


def test_unet_plus_plus_gives_the_logits_of_its_four_nested_nets_in_training():
    net = baselines.unet_plus_plus(channels=(4, 4, 8, 8, 8), deep_supervision=True)
    x, target = torch.rand(2, 3, 33, 40), torch.ones(2, 1, 33, 40)
    levels = net(x)  # its norms are the same in evaluation
    assert [tuple(logits.shape) for logits in levels] == 4 * [(2, 1, 33, 40)]
    torch.testing.assert_close(net.eval()(x), torch.stack(levels).mean(0))
    heads = [getattr(net.network, f"final_conv_0_{level}").bias for level in (4, 3, 2, 1)]
    loss = DeepSupervisionLoss(DiceLoss(sigmoid=True), weights=[1.0, 0.0, 0.0, 0.0])
    gradients = torch.autograd.grad(loss(levels, target), heads)
    assert [bool(gradient != 0) for gradient in gradients] == [True, False, False, False]


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.coarse = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.head = nn.ConvTranspose2d(4, 1, 2, stride=2)

    def forward(self, x):
        return self.head(self.coarse(x))


def test_deep_supervision_gives_own_logits_first_then_one_map_a_layer():
    network = Tiny()
    names = set(network.state_dict())
    x = torch.rand(2, 1, 8, 12)
    outputs = DeepSupervision(network, {"coarse": 4})(x)
    assert [tuple(output.shape) for output in outputs] == [(2, 1, 8, 12), (2, 1, 4, 6)]
    assert torch.equal(outputs[0], network(x))
    assert (outputs[1] == 0).all()  # new heads know nothing
    assert set(network.state_dict()) == names


def test_layers_of_han_that_the_overlay_of_deep_supervision_names():
    network = HybridAttentionNet()
    supervised = DeepSupervision(network, {"decoder.1": 128, "decoder.0": 256})
    nn.init.ones_(supervised.heads[0].weight)
    outputs = supervised(torch.rand(2, 3, 32, 32))
    assert [output.shape[-1] for output in outputs] == [32, 8, 4]
    outputs[1].sum().backward()
    assert all(network.get_submodule(name).weight.grad is None for name in ("head", "final.conv"))
    assert network.encoder.stages[0].conv0.weight.grad.abs().max() > 0


@pytest.mark.parametrize(("layers", "error", "message"), [({}, ValueError, "layers"), ({"x": 4}, AttributeError, "x")])
def test_layers_that_deep_supervision_cannot_use(layers, error, message):
    with pytest.raises(error, match=message):
        DeepSupervision(Tiny(), layers)


def test_missing_package_of_nnunet_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[baselines\]'"):
        baselines.nnunet()
