import pytest
import torch
import torch.nn.functional as F
from hybrid_attention.networks import ResNet18Encoder
from monai.networks.nets import ResNet

CHANNELS = (64, 64, 128, 256, 512)


@pytest.fixture(scope="module")
def published(unlike_birth):
    """A ResNet-18 with a classifier, named as the published file."""
    net = ResNet("basic", [2, 2, 2, 2], [64, 128, 256, 512], 2, 3, conv1_t_stride=2, bias_downsample=False)
    state = unlike_birth(net).state_dict()
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def reference(state, x):
    """ResNet-18 after the paper, from plain functions and the published names; gives every scale."""

    def conv(name, y, stride=1, padding=1):
        return F.conv2d(y, state[f"{name}.weight"], stride=stride, padding=padding)

    def norm(name, y):
        weight, bias, mean, var = (
            state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return F.batch_norm(y, mean, var, weight, bias, eps=1e-5)

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


def test_the_published_names_are_the_known_ones(published):
    """Guard the imitation itself: these names and shapes are those of torchvision's network."""
    assert len(published) == 102
    assert published["conv1.weight"].shape == (64, 3, 7, 7)
    assert published["bn1.running_var"].shape == (64,)
    assert published["layer1.1.conv2.weight"].shape == (64, 64, 3, 3)
    assert published["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert published["layer4.0.downsample.1.running_mean"].shape == (512,)
    assert published["fc.weight"].shape[1] == 512
    assert "layer2.0.downsample.0.bias" not in published
    assert "layer1.0.downsample.0.weight" not in published


@pytest.mark.parametrize("size", [(64, 96), (51, 77)])
def test_published_weights_give_resnet18(published, save_published, tmp_path, size):
    encoder = ResNet18Encoder(weights=save_published("resnet18", published, tmp_path)).eval()
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        features = encoder(x)
    torch.testing.assert_close(features, reference(published, x), rtol=1e-4, atol=1e-4)
    sizes = [tuple(-(-side // 2**level) for side in size) for level in range(1, 6)]  # rounded up
    assert [tuple(f.shape) for f in features] == [(2, c, *s) for c, s in zip(CHANNELS, sizes, strict=True)]


def resnet18_parameters(in_channels, spatial_dims):
    widths = [(64, 64), (64, 128), (128, 256), (256, 512)]
    count = in_channels * 64 * 7**spatial_dims + 2 * 64
    for inside, outside in widths:
        count += (inside + 3 * outside) * outside * 3**spatial_dims + 4 * 2 * outside
        count += (inside + 2) * outside if inside != outside else 0
    return count


@pytest.mark.parametrize(("in_channels", "spatial_dims"), [(3, 2), (1, 2), (2, 3)])
def test_parameter_count_and_attributes(in_channels, spatial_dims):
    encoder = ResNet18Encoder(spatial_dims, in_channels)
    assert sum(p.numel() for p in encoder.parameters()) == resnet18_parameters(in_channels, spatial_dims)
    assert resnet18_parameters(3, 2) == 11_176_512
    assert encoder.channels == CHANNELS
    assert encoder.stride == 32


def test_volumes():
    with torch.no_grad():
        features = ResNet18Encoder(spatial_dims=3, in_channels=1).eval()(torch.rand(1, 1, 32, 64, 33))
    assert features[-1].shape == (1, 512, 1, 2, 2)
