import torch
from hybrid_attention.networks import DeepAttentionUNet
from hybrid_attention.networks.attention_unet import GatedDecoderStage
from torch import nn


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
    torch.manual_seed(0)  # with one start in twelve the few features are all dead
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
