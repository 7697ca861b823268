import pytest
import torch
from hybrid_attention.networks import HybridLiteNet


def test_gradcam_sees_the_deepest_features():
    network = HybridLiteNet().eval()
    shapes = []
    network.get_submodule(network.gradcam_layer).register_forward_hook(lambda *call: shapes.append(call[2].shape))
    network(torch.rand(1, 1, 64, 96))
    assert shapes == [(1, 320, 2, 3)]


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


@pytest.mark.parametrize(
    ("arguments", "message"), [({"channels": (16, 8)}, r"channels .*\[16, 8\]"), ({"num_classes": 1}, "num_classes")]
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HybridLiteNet(**arguments)
