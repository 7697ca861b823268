"""What Grad-CAM refuses, and what it says."""

import pytest
import torch
from hybrid_attention.explain import NothingMarkedError, grad_cam, layer_name
from hybrid_attention.networks import HybridAttentionNet, PlainUNet
from torch import nn

X = torch.rand(2, 2, 8, 8)
ONES = torch.ones(2, 1, 8, 8)
NET = PlainUNet(in_channels=2, channels=(2, 4, 8))

REFUSED = [  # arguments for PlainUNet, message
    ({"layer": "encode.1", "mask": ONES}, r"PlainUNet has no layer 'encode\.1'; it has: encoder\.1, "),
    ({"layer": "encoder", "mask": ONES}, r"no layer 'encoder'; it has: encoder\."),
    ({"layer": "", "mask": ONES}, "no layer ''"),
    ({"layer": "pool", "mask": ONES}, r"layer 'pool' \(MaxPool2d\) runs 2 times .* choose one that runs once"),
    ({"mask": torch.ones(2, 8, 8)}, r"mask must have the shape .*\(2, 1, 8, 8\), got \(2, 8, 8\)"),
    ({"mask": ONES, "class_index": 0}, "mask .* or class_index .*, not both"),
    ({"class_index": 1}, r"class_index=1 needs logits of classes.*shape \(2, 1, 8, 8\): it has no class head"),
    ({"mask": ONES, "output": "mask"}, "no field 'mask'; it has no named fields"),
    ({"mask": ONES, "output": lambda logits: logits[:, 0]}, r"expected logits .* got \(2, 8, 8\)"),
    ({"mask": ONES, "output": lambda logits: logits.repeat(1, 3, 1, 1)}, "one channel of logits, got 3"),
    ({"mask": ONES, "output": lambda logits: logits / 0}, "scores to explain must be finite"),
    ({"mask": ONES, "output": lambda logits: logits.detach()}, "the score does not depend on layer"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refused_for_a_mask(arguments, message):
    with pytest.raises(ValueError, match=message):
        grad_cam(NET, X, **arguments)


CLASS_REFUSED = [
    ({"output": None}, "output is a Both with mask, classes; choose the logits to explain with output"),
    ({"output": "class"}, "no field 'class'; it has mask, classes"),
    ({"class_index": 2}, "class_index must be from 0 to 1, got 2"),
    ({"class_index": [0, -1]}, "class_index must be from 0 to 1, got -1"),
    ({"class_index": [0]}, "one index or 2, one for each image, got 1"),
    ({"mask": ONES}, r"mask needs logits of a mask.*\(2, 2\): a row of classes"),
    ({"layer": "unused"}, "the score does not depend on layer 'unused'"),
    ({"layer": "pool"}, r"layer 'pool' \(AdaptiveAvgPool2d\) must give one feature map.*got shape \(2, 2, 1, 1\)"),
    ({"layer": "flat"}, r"layer 'flat' \(Flatten\) must give one feature map.*got shape \(2, 2\)"),
]


@pytest.mark.parametrize(("arguments", "message"), CLASS_REFUSED)
def test_refused_for_classes(channels, arguments, message):
    with pytest.raises(ValueError, match=message):
        grad_cam(channels, X, **{"layer": "features", "output": "classes", **arguments})


def test_a_layer_that_gives_a_list_is_refused():
    with pytest.raises(ValueError, match=r"layer 'encoder' \(DenseNet121Encoder\) must give one .*, got a list"):
        grad_cam(HybridAttentionNet(in_channels=2), torch.rand(1, 2, 32, 32), "encoder", mask=torch.ones(1, 1, 32, 32))


def test_images_in_which_nothing_is_marked_are_named():
    mask = ONES.clone()
    mask[1] = 0
    with pytest.raises(NothingMarkedError, match="nothing is marked in image 1 of the batch"):
        grad_cam(NET, X, mask=mask)
    with pytest.raises(NothingMarkedError, match="in image 0, 1 of the batch: no region to explain; give mask"):
        grad_cam(NET, X, output=lambda logits: logits - 1e6)


def test_a_network_without_a_layer_of_its_own(channels):
    with pytest.raises(
        ValueError, match=r"Channels has no attribute gradcam_layer.* give layer, one of: features, relu"
    ):
        layer_name(channels)
    assert layer_name(channels, "relu") == "relu"


def test_long_lists_of_layers_are_cut():
    net = nn.ModuleList(nn.Sequential(nn.ReLU()) for _ in range(40))
    with pytest.raises(ValueError, match=r"… \(80 in all\)") as caught:
        layer_name(net, "7.1")
    assert str(caught.value).count(",") == 29


def test_scripted_networks_are_refused():
    with pytest.raises(ValueError, match="needs the network as built in Python"):
        grad_cam(torch.jit.script(PlainUNet(channels=(2, 4))), torch.rand(1, 3, 8, 8))
