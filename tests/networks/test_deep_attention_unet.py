import pytest
import torch
from hybrid_attention.networks import DeepAttentionUNet
from hybrid_attention.networks.deep_attention_unet import GatedDecoderStage
from torch import nn

SMALL = {
    "channels": (4, 8),
    "bottleneck_channels": 6,
    "decoder_channels": (5, 3),
    "encoder_dropout": (0.1, 0.2),
    "decoder_dropout": (0.3, 0.4),
}


def convs(values, before, width):
    """Two convolutions of `values` weights a pair of channels, with bias and batch norm."""
    return values * (before + width) * width + 6 * width


def stage(values, below, skip, width, gates=True):
    gate = (width * width + 3 * width) + (skip * width + 3 * width) + (width + 3)
    return values * below * width + 3 * width + gate * gates + convs(values, skip + width, width)


def small(values, in_channels=1, out_channels=1, gates=True):
    encoder = convs(values, in_channels, 4) + convs(values, 4, 8) + convs(values, 8, 6)
    return encoder + stage(values, 6, 8, 5, gates) + stage(values, 5, 4, 3, gates) + 4 * out_channels


PAPER = 4_688_064 + 4_721_664 + 4_704_480 + 264_492 + 33  # encoder, bottleneck, decoder, gates, head
CASES = [  # arguments, input shape, output shape, trainable parameters
    ({}, (1, 1, 64, 64), (1, 1, 64, 64), 14_378_733),
    ({}, (1, 1, 33, 45), (1, 1, 33, 45), PAPER),
    ({}, (1, 1, 16, 17), (1, 1, 16, 17), PAPER),
    ({"attention_gates": False}, (1, 1, 32, 48), (1, 1, 32, 48), 14_114_241),
    ({"in_channels": 3, "out_channels": 2}, (1, 3, 16, 16), (1, 2, 16, 16), PAPER + 2 * 9 * 64 + 33),
    (SMALL, (1, 1, 7, 5), (1, 1, 7, 5), 3_617),
    (SMALL | {"attention_gates": False}, (1, 1, 8, 8), (1, 1, 8, 8), small(9, gates=False)),
    (SMALL | {"in_channels": 2, "out_channels": 3}, (2, 2, 4, 6), (2, 3, 4, 6), small(9, 2, 3)),
    (SMALL | {"spatial_dims": 3}, (1, 1, 5, 8, 7), (1, 1, 5, 8, 7), 10_187),
]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return DeepAttentionUNet(**SMALL)


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("arguments", "input_shape", "output_shape", "parameters"), CASES)
def test_shapes_and_parameter_counts(arguments, input_shape, output_shape, parameters):
    net = DeepAttentionUNet(**arguments).eval()
    with torch.no_grad():
        assert net(torch.rand(input_shape)).shape == output_shape
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == parameters


def test_counts_of_the_parts_as_the_docstring_says():
    net = DeepAttentionUNet()
    parts = {name: part for name, part in net.named_modules() if name in ("encoder", "bottleneck", "decoder", "head")}
    gates = [stage.gate for stage in net.decoder]
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    gated = sum(p.numel() for gate in gates for p in gate.parameters())
    assert counts == {"encoder": 4_688_064, "bottleneck": 4_721_664, "decoder": 4_704_480 + gated, "head": 33}
    assert gated == 264_492
    for count in [*counts.values(), counts["decoder"] - gated, gated]:
        assert count == counts["decoder"] or f" {count:,} |" in DeepAttentionUNet.__doc__


def test_each_stage_has_its_own_dropout():
    net = DeepAttentionUNet()

    def rates(part):
        return [dropout.p for dropout in part.modules() if isinstance(dropout, nn.Dropout)]

    assert [rates(part) for part in net.encoder] == [[0.25], [0.25], [0.3], [0.3]]
    assert rates(net.bottleneck) == [0.3]
    assert [rates(part) for part in net.decoder] == [[0.3], [0.3], [0.25], [0.25]]


def test_dropout_works_in_training_only(net):
    x = images(2, 1, 16, 16)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_gates_are_as_wide_as_the_decoder():
    assert [stage.gate.W_x[0].conv.out_channels for stage in DeepAttentionUNet().decoder] == [256, 128, 64, 32]


def test_a_closed_gate_hides_the_skip_and_an_open_one_shows_it_whole():
    torch.manual_seed(0)
    gated = GatedDecoderStage(2, 3, 4, 2, 0.0, attention_gate=True).eval()
    plain = GatedDecoderStage(2, 3, 4, 2, 0.0, attention_gate=False).eval()
    plain.load_state_dict(gated.state_dict(), strict=False)
    x, skip = images(1, 3, 4, 4), images(1, 4, 8, 7)
    norm = gated.gate.psi[1]
    with torch.no_grad():
        norm.bias.fill_(-100.0)
        torch.testing.assert_close(gated(x, skip), plain(x, torch.zeros_like(skip)))
        norm.bias.fill_(100.0)
        torch.testing.assert_close(gated(x, skip), plain(x, skip))
        norm.bias.fill_(0.0)
        assert not torch.allclose(gated(x, skip), plain(x, skip), atol=1e-3)


@pytest.mark.parametrize("gates", [True, False])
def test_backward_reaches_every_parameter(gates):
    torch.manual_seed(0)
    net = DeepAttentionUNet(**SMALL, attention_gates=gates)
    net(images(3, 1, 32, 32)).square().mean().backward()
    # A bias just before a batch norm is taken out by it: its gradient is zero but for rounding.
    before_norm = {name for name, _ in net.named_parameters() if name.endswith("conv.bias")}
    assert all(p.grad is not None for p in net.parameters())
    assert {name for name, p in net.named_parameters() if p.grad.abs().max() == 0} <= before_norm


def test_start_carries_the_signal_to_the_deepest_scale():
    torch.manual_seed(0)
    net = DeepAttentionUNet()
    deepest = []
    net.bottleneck.register_forward_hook(lambda module, args, output: deepest.append(output))
    with torch.no_grad():
        output = net(images(2, 1, 32, 32))
    one, other = deepest[0]
    assert (one - other).std() > 0.1
    assert output.min() < 0 < output.std() < 10


def test_scripted_traced_and_exported_equal_eager(net, recwarn):
    net.eval()
    x, other = images(2, 1, 16, 24), images(1, 1, 13, 9)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        dim = torch.export.Dim
        sizes = {0: dim("batch", max=64), 2: dim("height", min=8, max=512), 3: dim("width", min=8, max=512)}
        forms = {
            "scripted": torch.jit.script(net),
            "traced": torch.jit.trace(net, x, check_trace=False),
            "exported": torch.export.export(net, (x,), dynamic_shapes=(sizes,)).module(),
        }
        for form in forms.values():
            for batch in (x, other):
                torch.testing.assert_close(form(batch), net(batch), rtol=1e-4, atol=1e-5)
        with pytest.raises(torch.jit.Error, match="ValueError: expected 1 input channels, received 3"):
            forms["scripted"](images(1, 3, 16, 16))
    assert not [str(w.message) for w in recwarn if issubclass(w.category, torch.jit.TracerWarning)]


def test_channels_last_under_bfloat16_autocast_stays_near_float32(net):
    net.eval()
    x = images(2, 1, 32, 32)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            output = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert output.dtype == torch.bfloat16
    assert (output.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_bad_arguments_and_input_are_refused(net):
    with pytest.raises(ValueError, match=r"one entry for each stage, got lengths .*'decoder_channels': 3"):
        DeepAttentionUNet(**SMALL | {"decoder_channels": (5, 4, 3)})
    with pytest.raises(ValueError, match=r"one entry for each stage, got lengths .*'decoder_dropout': 1"):
        DeepAttentionUNet(**SMALL | {"decoder_dropout": (0.1,)})
    with pytest.raises(ValueError, match="one entry for each stage"):
        DeepAttentionUNet(channels=(), decoder_channels=(), encoder_dropout=(), decoder_dropout=())
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 4"):
        DeepAttentionUNet(spatial_dims=4)
    with pytest.raises(ValueError, match=r"size 15 \(axis 1\).*at least 16"):
        DeepAttentionUNet()(torch.rand(2, 1, 16, 15))
    with pytest.raises(ValueError, match="expected 1 input channels, received 3"):
        net(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"2 spatial dimensions, received 3"):
        net(torch.rand(1, 8, 8))
