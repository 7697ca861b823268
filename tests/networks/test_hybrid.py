import pytest
import torch
from hybrid_attention.networks import HybridAttentionNet, HybridLiteNet, HybridMultiTaskNet, lesion_logit


def test_with_a_class_head_it_segments_as_han_does():
    network, han = HybridMultiTaskNet(num_regions=2).eval(), HybridAttentionNet(out_channels=2).eval()
    han.load_state_dict(network.network.state_dict())
    x = torch.rand(1, 3, 48, 32)
    assert torch.equal(network(x).mask, han(x))


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


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda: HybridAttentionNet(tam=False).state_dict(), r": \d+ weights missing \(\S*tam\S+, .*, …\)$"),
        (
            lambda: HybridAttentionNet(out_channels=3).state_dict() | {"scale": torch.ones(1)},
            r": 1 weights unexpected \(scale\), 2 weights of another shape "
            r"\(head\.weight \(3, 64, 1, 1\) for \(2, 64, 1, 1\), head\.bias \(3,\) for \(2,\)\)$",
        ),
    ],
)
def test_start_from_other_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        HybridMultiTaskNet().start_from_masks(weights())


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
