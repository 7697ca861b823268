"""Published weights, from files made here in the published format and served over the loopback interface."""

import dataclasses
import logging
import re

import pytest
import torch
from hybrid_attention.networks import DENSENET121, DenseNet121Encoder, HybridAttentionNet, encoders
from monai.networks.nets import DenseNet121


@pytest.fixture(scope="module")
def whole(unlike_birth):
    """A full DenseNet-121 in which no tensor has the value it is born with."""
    return unlike_birth(DenseNet121(2, 3, out_channels=1000))


def published_state(net, old_format=True):
    """Name the tensors as torchvision does: norm.1 without batch counters in the published file, norm1 since."""
    state = {}
    for key, value in net.state_dict().items():
        if old_format and key.endswith("num_batches_tracked"):
            continue
        key = key.replace("class_layers.out", "classifier").replace(".layers.", ".")
        if old_format:
            key = re.sub(r"(denselayer\d+\.)(norm|conv)([12])", r"\1\2.\3", key)
        state[key] = value.clone() if key.endswith("num_batches_tracked") else value
    return state


@pytest.fixture(scope="module")
def published_file(whole, save_published, tmp_path_factory):
    return save_published("densenet121", published_state(whole), tmp_path_factory.mktemp("published"))


def test_the_published_names_are_the_known_ones(whole):
    """Guard the imitation itself: these names and shapes are those of the published file."""
    state = published_state(whole)
    assert state["features.conv0.weight"].shape == (64, 3, 7, 7)
    assert state["features.denseblock1.denselayer1.norm.1.running_mean"].shape == (64,)
    assert state["features.denseblock3.denselayer24.conv.2.weight"].shape == (32, 128, 3, 3)
    assert state["features.transition2.norm.weight"].shape == (512,)
    assert state["features.norm5.bias"].shape == (1024,)
    assert state["classifier.weight"].shape == (1000, 1024)
    assert not any("layers" in key.split(".") for key in state)


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("old_format", [True, False])
def test_every_tensor_of_the_encoder_is_filled(whole, save_published, tmp_path, old_format, depth):
    if not old_format:
        for part in whole.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.num_batches_tracked.fill_(7)
    path = save_published("densenet121", published_state(whole, old_format), tmp_path)
    torch.manual_seed(1)
    encoder = DenseNet121Encoder(depth=depth, weights=path)
    features = whole.features.state_dict()
    own = {re.sub(r"^stages\.\d+\.", "", key): value for key, value in encoder.state_dict().items()}
    for name, value in own.items():
        if old_format and name.endswith("num_batches_tracked"):
            assert value == 0
        else:
            torch.testing.assert_close(value, features[name], rtol=0, atol=0)
    unused = {name.split(".")[0] for name in features.keys() - own.keys()}
    assert unused == ({"transition3", "denseblock4", "norm5"} if depth == 3 else set())


def test_network_takes_the_path_and_differs_from_a_random_start_in_the_encoder_only(published_file, caplog):
    with caplog.at_level(logging.INFO, logger="hybrid_attention"):
        torch.manual_seed(3)
        random = HybridAttentionNet()
        torch.manual_seed(3)
        loaded = HybridAttentionNet(encoder_weights=str(published_file))
    changed = {
        a.split(".")[0]
        for (a, p), (_, q) in zip(*(n.named_parameters() for n in (random, loaded)), strict=True)
        if not torch.equal(p, q)
    }
    assert changed == {"encoder"}
    first, second = (record.getMessage() for record in caplog.records)
    assert "random weights" in first
    assert DENSENET121.url in first
    assert str(published_file) in second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("features.denseblock2.denselayer3.conv.2.weight"), r"1 tensors are missing \(denseblock2"),
        (lambda s: s.pop("features.norm0.running_var"), r"missing \(norm0.running_var\)"),
        (lambda s: s.update({"features.fire.weight": torch.ones(1)}), r"unknown \(fire.weight\)"),
        (lambda s: s.update({"features.denseblock1.denselayer7.norm.1.bias": torch.ones(1)}), r"unknown \(denseblock1"),
        (lambda s: s.update({"features.norm0.bias": torch.ones(65)}), r"norm0.bias \(65,\) for \(64,\)"),
        (lambda s: s.clear(), "missing.*, …"),
    ],
)
def test_a_file_of_another_network_is_refused(whole, tmp_path, change, message):
    state = published_state(whole)
    change(state)
    path = tmp_path / "other.pth"
    torch.save(state, path)
    with pytest.raises(ValueError, match=message) as error:
        DenseNet121Encoder(weights=path)
    assert str(path) in str(error.value)
    assert "encoder_weights" in str(error.value)


def test_parts_cut_off_may_be_absent_only_when_they_are_cut_off(whole, tmp_path):
    cut = tuple(f"features.{part}." for part in ("transition3", "denseblock4", "norm5"))
    state = {k: v for k, v in published_state(whole).items() if not k.startswith((*cut, "classifier."))}
    path = tmp_path / "short.pth"
    torch.save(state, path)
    DenseNet121Encoder(depth=3, weights=path)
    with pytest.raises(ValueError, match="missing"):
        DenseNet121Encoder(depth=4, weights=path)


def test_missing_damaged_and_foreign_files(published_file, tmp_path):
    with pytest.raises(FileNotFoundError, match="ImageNet"):
        DenseNet121Encoder(weights="ImageNet")
    damaged = tmp_path / published_file.name
    content = bytearray(published_file.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(RuntimeError, match="is damaged: its name says SHA-256"):
        DenseNet121Encoder(weights=damaged)
    unnamed = tmp_path / "weights.pth"
    unnamed.write_bytes(published_file.read_bytes()[:1000])
    with pytest.raises(RuntimeError, match="cannot be read"):
        DenseNet121Encoder(weights=unnamed)
    torch.save([1, 2], unnamed)
    with pytest.raises(ValueError, match="holds list"):
        DenseNet121Encoder(weights=unnamed)


def test_only_flat_images_with_one_or_three_channels_have_imagenet_weights(published_file):
    with pytest.raises(ValueError, match="got 2"):
        HybridAttentionNet(in_channels=2, encoder_weights=published_file)
    with pytest.raises(ValueError, match="spatial_dims=2, got 3"):
        HybridAttentionNet(spatial_dims=3, encoder_weights="imagenet")


@pytest.fixture
def server(published_file, serve, monkeypatch):
    """Serve the folder of the published file; give a function that makes 'imagenet' mean a file there."""
    web = serve(published_file.parent)

    def publish(name, address=web.address):
        url = f"{address}/{name}"
        monkeypatch.setattr(encoders, "DENSENET121", dataclasses.replace(DENSENET121, url=url))
        return url

    publish.requests = web.requests
    publish.cached = web.cached
    return publish


def test_download_happens_once_and_fills_the_encoder(server, published_file, whole):
    server(published_file.name)
    for _ in range(2):
        net = HybridAttentionNet(encoder_weights="imagenet")
        torch.testing.assert_close(net.encoder.stages[0].conv0.weight, whole.features.conv0.weight)
    assert server.requests == [f"/{published_file.name}"]
    cached = server.cached / published_file.name
    cached.write_bytes(b"spoilt")
    with pytest.raises(RuntimeError, match=f"{re.escape(str(cached))} is damaged.*Delete it"):
        HybridAttentionNet(encoder_weights="imagenet")


def test_download_of_the_wrong_content_is_refused_and_not_kept(server, published_file):
    wrong = published_file.with_name("densenet121-00000000.pth")
    wrong.write_bytes(b"not the weights")
    url = server(wrong.name)
    with pytest.raises(RuntimeError, match=f"cannot download the encoder weights {url}.*hash") as error:
        HybridAttentionNet(encoder_weights="imagenet")
    assert "pass the file's path as encoder_weights" in str(error.value)
    assert list(server.cached.iterdir()) == []


@pytest.mark.parametrize("elsewhere", [{}, {"address": "http://127.0.0.1:1"}])
def test_an_unreachable_file_is_an_error_and_never_a_random_start(server, elsewhere):
    url = server("absent-12345678.pth", **elsewhere)
    with pytest.raises(RuntimeError, match=f"cannot download the encoder weights {url}"):
        HybridAttentionNet(encoder_weights="imagenet")
