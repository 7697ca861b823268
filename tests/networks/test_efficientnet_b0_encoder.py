import re

import pytest
import torch
import torch.nn.functional as F
from hybrid_attention.networks import EfficientNetB0Encoder
from monai.networks.nets import EfficientNetBN

CHANNELS = (16, 24, 40, 112, 1280)
STRIDES = {1: 2, 3: 2, 5: 2, 11: 2}  # by number of the block; 1 elsewhere
LAST_OF_SCALE = (0, 2, 4, 10)


@pytest.fixture(scope="module")
def published(unlike_birth):
    """An EfficientNet-B0 with its classifier, named as the published file, which counts the blocks through."""
    state = unlike_birth(EfficientNetBN("efficientnet-b0", pretrained=False)).state_dict()
    return {re.sub(r"^_blocks\.\d+\.", "_blocks.", key): value for key, value in state.items()}


def reference(state, x):
    """EfficientNet-B0 from plain functions and the published names, with TensorFlow's "same" padding; every scale."""

    def conv(name, y, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        width = weight.shape[-1]
        border = []
        for side in (y.shape[-1], y.shape[-2]):
            total = max((-(-side // stride) - 1) * stride + width - side, 0)
            border += [total // 2, total - total // 2]
        return F.conv2d(F.pad(y, border), weight, state.get(f"{name}.bias"), stride, groups=groups)

    def norm(name, y):
        weight, bias, mean, var = (
            state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return F.batch_norm(y, mean, var, weight, bias, eps=1e-3)

    def swish(y):
        return y * y.sigmoid()

    y = swish(norm("_bn0", conv("_conv_stem", x, 2)))
    features = []
    for i in range(16):
        name = f"_blocks.{i}."
        before = y
        if i > 0:
            y = swish(norm(name + "_bn0", conv(name + "_expand_conv", y)))
        y = swish(norm(name + "_bn1", conv(name + "_depthwise_conv", y, STRIDES.get(i, 1), groups=y.shape[1])))
        gate = swish(conv(name + "_se_reduce", y.mean((2, 3), keepdim=True)))
        y = y * conv(name + "_se_expand", gate).sigmoid()
        y = norm(name + "_bn2", conv(name + "_project_conv", y))
        if y.shape == before.shape:
            y = y + before
        if i in LAST_OF_SCALE:
            features.append(y)
    return [*features, swish(norm("_bn1", conv("_conv_head", y)))]


def test_the_published_names_are_the_known_ones(published):
    """Guard the imitation itself: these names and shapes are those of the network that the file is of."""
    assert len(published) == 360
    assert published["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert published["_bn0.num_batches_tracked"].shape == ()
    assert published["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert "_blocks.0._expand_conv.weight" not in published
    assert published["_blocks.3._depthwise_conv.weight"].shape == (144, 1, 5, 5)
    assert published["_blocks.15._se_reduce.bias"].shape == (48,)
    assert published["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    assert published["_conv_head.weight"].shape == (1280, 320, 1, 1)
    assert published["_fc.weight"].shape == (1000, 1280)


def test_published_weights_give_efficientnet_b0(published, save_published, tmp_path):
    encoder = EfficientNetB0Encoder(weights=save_published("efficientnet-b0", published, tmp_path)).eval()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features = encoder(x)
    assert [tuple(f.shape) for f in features] == [(2, c, 64 >> i, 96 >> i) for i, c in enumerate(CHANNELS, start=1)]
    torch.testing.assert_close(features, reference(published, x), rtol=1e-4, atol=1e-4)


def test_parameter_count_and_attributes():
    encoder = EfficientNetB0Encoder()
    assert sum(p.numel() for p in encoder.parameters()) == 4_007_548
    assert sum(p.numel() for p in EfficientNetB0Encoder(in_channels=1).parameters()) == 4_007_548 - 2 * 32 * 9
    assert encoder.channels == CHANNELS
    assert encoder.stride == 32


def test_branches_are_dropped_in_training_only():
    torch.manual_seed(0)
    encoder = EfficientNetB0Encoder()
    block = encoder.stages[4].block14
    block.eval()
    x = torch.rand(64, 192, 2, 2)
    with torch.no_grad():
        assert (block(x) != x).flatten(1).any(1).all()
        block.train()
        kept = (block(x) != x).flatten(1).any(1)
    assert 0 < (~kept).sum() < 32  # expected: 0.2 * 14 / 16 of 64 items, about 11


def test_volumes():
    with torch.no_grad():
        features = EfficientNetB0Encoder(spatial_dims=3, in_channels=1).eval()(torch.rand(1, 1, 32, 64, 32))
    assert features[-1].shape == (1, 1280, 1, 2, 1)


def test_running_statistics_follow_a_short_training():
    """After forty batches the running variance is that of the data; with MONAI's momentum it is two thirds of 1."""
    norm = EfficientNetB0Encoder(spatial_dims=2).stages[0].bn0.train()
    for _ in range(40):
        norm(torch.randn(4, 32, 8, 8) * 0.1)
    assert norm.running_var.max() < 0.03
    assert {part.momentum for part in EfficientNetB0Encoder().modules() if isinstance(part, torch.nn.BatchNorm2d)} == {
        0.1
    }
