import pytest
import torch
from hybrid_attention.networks import HybridAttentionNet, HybridMultiTaskNet, lesion_logit

SMALL = {"sfeb": False, "tam": False}


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_parameters_are_hans_and_the_heads():
    han = 15_427_713 + 65  # a second region: 64 weights and a bias
    classifier = 2 * 256**2 + 256 + 256 * 3 + 3
    assert count(HybridMultiTaskNet()) == han + classifier == 15_559_877
    assert count(HybridMultiTaskNet(num_classes=None)) == han


@pytest.mark.parametrize("size", [(32, 48), (37, 50)])
def test_shapes(size):
    output = HybridMultiTaskNet(in_channels=2).eval()(torch.rand(2, 2, *size))
    assert output.mask.shape == (2, 2, *size)
    assert output.coarse_mask is None
    assert output.class_logits.shape == (2, 3)


def test_three_dimensions_without_classes():
    output = HybridMultiTaskNet(3, 1, None, **SMALL).eval()(torch.rand(1, 1, 32, 32, 32))
    assert output.mask.shape == (1, 2, 32, 32, 32)
    assert output.class_logits is None


def test_it_segments_as_han_does():
    network = HybridMultiTaskNet(num_regions=2).eval()
    han = HybridAttentionNet(out_channels=2).eval()
    han.load_state_dict(network.network.state_dict())
    x = torch.rand(1, 3, 48, 32)
    assert torch.equal(network(x).mask, han(x))


def test_both_tasks_reach_the_encoder():
    network = HybridMultiTaskNet()
    first = next(network.network.encoder.parameters())
    for field in ("mask", "class_logits"):
        network.zero_grad()
        getattr(network(torch.rand(2, 3, 32, 32)), field).square().mean().backward()
        assert first.grad.abs().sum() > 0


def test_scripted_equals_eager():
    network = HybridMultiTaskNet().eval()
    x = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(torch.jit.script(network)(x).class_logits, network(x).class_logits)


def test_errors():
    with pytest.raises(ValueError, match="num_regions must be at least 2"):
        HybridMultiTaskNet(num_regions=1)
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        HybridMultiTaskNet(num_classes=1)
    with pytest.raises(ValueError, match="3"):
        HybridMultiTaskNet()(torch.rand(1, 1, 32, 32))


def test_start_from_a_network_for_masks_gives_its_logits():
    torch.manual_seed(0)
    masks = HybridAttentionNet(in_channels=3, out_channels=1).eval()
    both = HybridMultiTaskNet(in_channels=2, num_regions=2).eval()
    both.start_from_masks(masks.state_dict())
    grey, edges = torch.rand(2, 1, 48, 64), torch.rand(2, 1, 48, 64)
    with torch.no_grad():
        expected = masks(grey.repeat(1, 3, 1, 1))
        found = lesion_logit(both(torch.cat([grey, edges], dim=1)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_start_from_other_weights():
    both = HybridMultiTaskNet(in_channels=2)
    with pytest.raises(ValueError, match=r"not those of a HAN for masks .*: \d+ weights missing \(\S*tam\S+, .*, …\)$"):
        both.start_from_masks(HybridAttentionNet(tam=False).state_dict())
    with pytest.raises(ValueError, match=r"\d+ weights missing \(encoder\S+, .*, …\)$"):
        both.start_from_masks({})
    three = HybridAttentionNet(out_channels=3).state_dict() | {"scale": torch.ones(1)}
    shapes = r"head\.weight \(3, 64, 1, 1\) for \(2, 64, 1, 1\), head\.bias \(3,\) for \(2,\)"
    with pytest.raises(ValueError, match=rf": 1 weights unknown \(scale\), 2 weights of another shape \({shapes}\)$"):
        both.start_from_masks(three)


def test_start_from_weights_of_volumes():
    flat, solid = HybridMultiTaskNet(**SMALL), HybridAttentionNet(3, 3, 1, **SMALL)
    with pytest.raises(ValueError, match=r"weights of another shape \(encoder\.stages\.0\.conv0\.weight .*, …\)$"):
        flat.start_from_masks(solid.state_dict())
