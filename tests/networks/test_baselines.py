"""What is particular to the systems that the papers compare with, as far as they are built here."""

import sys

import pytest
import torch
from hybrid_attention.networks import baselines
from hybrid_attention.networks.baselines.eh_former import BACKBONES, EasyHardFusion, MixTransformer, ReducedAttention
from hybrid_attention.networks.baselines.mt_dunet import PyramidClassifier
from hybrid_attention.networks.baselines.swin_unet import SwinBlock
from monai.losses import DeepSupervisionLoss, DiceLoss


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def attention_by_hand(block, x, groups):
    """Attend within each group of (row, column) positions of (b, h, w, c), one query after the other."""
    attn, side, result = block.attn, block.window_size, torch.full_like(x, torch.nan)
    q, k, v = attn.qkv(x).reshape(*x.shape[:3], 3, 3, 2).permute(3, 0, 1, 2, 4, 5)  # three heads of two channels
    for group in groups:
        for i, j in group:
            scores = []
            for m, n in group:
                bias = attn.relative_position_bias_table[(i - m + side - 1) * (2 * side - 1) + j - n + side - 1]
                scores.append((q[:, i, j] * k[:, m, n]).sum(-1) / 2**0.5 + bias)
            shares = torch.stack(scores).softmax(0)[..., None]
            mixed = (shares * torch.stack([v[:, m, n] for m, n in group])).sum(0)
            result[:, i, j] = attn.proj(mixed.flatten(1))
    return result


def rectangles(rows, columns):
    return [[(i, j) for i in high for j in wide] for high in rows for wide in columns]


@pytest.mark.parametrize(
    ("window", "shift", "shape", "groups"),
    [
        (2, False, (2, 4, 6, 6), rectangles([(0, 1), (2, 3)], [(0, 1), (2, 3), (4, 5)])),
        # the first and the last row share a window, but do not see each other
        (2, True, (2, 4, 6, 6), rectangles([(1, 2), (3,), (0,)], [(1, 2), (3, 4), (5,), (0,)])),
        (7, True, (2, 3, 1, 6), rectangles([range(3)], [(0,)])),  # a window larger than the map is one of the map
        # one window for the three rows; the columns are moved by two: 2 to 5, and the first two with the padding behind
        (4, True, (1, 3, 6, 6), rectangles([range(3)], [(2, 3, 4, 5), (0, 1)])),
    ],
)
def test_windows_of_swin_unet(window, shift, shape, groups):
    block, x = SwinBlock(6, 3, window, shift, 0.0).eval(), torch.rand(shape)
    torch.nn.init.normal_(block.attn.relative_position_bias_table)
    torch.testing.assert_close(block.attend(x), attention_by_hand(block, x, groups))


@pytest.mark.parametrize("size", [(7, 9), (3, 2), (1, 1), (8, 8)])
def test_pyramid_of_mt_dunet_has_the_bins_of_adaptive_pooling(size):
    x, seen = torch.randn(2, 3, *size), []
    classifier = PyramidClassifier(3, 2).eval()
    classifier.layers.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    classifier(x)
    levels = [torch.nn.functional.adaptive_max_pool2d(x, bins) for bins in (4, 2, 1)]
    assert torch.equal(seen[0], torch.cat([level.flatten(1) for level in levels], dim=1))


def test_bgra_gsa_gives_eight_masks_and_ten_boundaries_in_training_and_the_first_mask_after_it():
    net, x = baselines.BGRAGSA(encoder="efficientnet-b0", channels=(32, 16, 8, 8, 4)).eval(), torch.rand(2, 3, 33, 40)
    with torch.no_grad():
        alone = net(x)
        net.training = True  # norms stay in evaluation
        masks, boundaries = net(x)
    assert masks.shape == (2, 8, 33, 40) and boundaries.shape == (2, 10, 33, 40)
    assert torch.equal(alone, masks[:, :1])


@pytest.mark.parametrize(
    ("backbone", "parameters"), [("mit_b0", 3_319_392), ("mit_b1", 13_151_424), ("mit_b2", 24_196_288)]
)
def test_mix_transformers_have_the_parameters_of_segformer(backbone, parameters):
    net = MixTransformer(3, backbone)
    assert sum(weight.numel() for weight in net.parameters()) == parameters
    sides = [tuple(features.shape[1:]) for features in net(torch.rand(1, 3, 64, 96))]
    assert sides == [(width, 64 // s, 96 // s) for width, s in zip(BACKBONES[backbone][0], (4, 8, 16, 32), strict=True)]


def test_drawn_queries_of_eh_former_attend_evenly_and_the_others_as_before():
    attention, x = ReducedAttention(8, 2, 2), torch.rand(1, 2, 4, 8)
    even = torch.zeros(1, 1, 8, 1)
    even[:, :, 5] = 1
    before, after = attention(x, None).flatten(1, 2), attention(x, even).flatten(1, 2)
    keys = attention.norm(attention.reduce(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2))
    mean = attention.key_value(keys)[..., 8:].mean(dim=1)
    torch.testing.assert_close(after[:, 5], attention.out(mean))
    others = [place for place in range(8) if place != 5]
    torch.testing.assert_close(after[:, others], before[:, others])
    assert (after[:, 5] - before[:, 5]).abs().max() > 1e-4


def test_difficulty_of_eh_former_is_half_variance_and_half_entropy():
    net = baselines.EHFormer(backbone="mit_b0")
    # six samples of a pixel that is undecided, of one that is now 0 and now 1, and of one that is always 1
    samples = iter([torch.tensor([[[[0.0, 99.0 * sign, 99.0]]]]) for sign in (1, -1, 1, -1, 1, -1)])
    net.coarse.forward = lambda x: next(samples)
    assert net.difficulty(torch.rand(1, 3, 32, 32)).tolist() == [[[[0.5, 0.5, 0.0]]]]


def test_coarse_part_of_eh_former_is_frozen_but_for_its_dropout():
    net, x = baselines.EHFormer(backbone="mit_b0"), torch.rand(2, 3, 32, 32)
    before = {name: value.clone() for name, value in net.coarse.state_dict().items()}
    fused, easy, hard = net(x)
    assert fused.shape == easy.shape == hard.shape == (2, 1, 32, 32)
    assert all(torch.equal(value, before[name]) for name, value in net.coarse.state_dict().items())
    assert not torch.equal(net.coarse(x), net.coarse(x))
    net.eval()
    assert torch.equal(net.coarse(x), net.coarse(x)) and torch.equal(net(x), net(x))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_of_eh_former_chooses_between_the_streams(alpha):
    fusion = EasyHardFusion(16, 0).eval()
    torch.nn.init.zeros_(fusion.gate.weight)  # g does not depend on the streams
    easy, hard, other = torch.rand(3, 1, 16, 4, 4).unbind()
    one, other_easy, other_hard = (
        fusion(*streams, None, torch.tensor(alpha)) for streams in ((easy, hard), (other, hard), (easy, other))
    )
    assert torch.equal(one, other_easy) == (alpha == 0) and torch.equal(one, other_hard) == (alpha == 1)


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


def test_missing_package_of_nnunet_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[baselines\]'"):
        baselines.nnunet()
