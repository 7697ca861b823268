"""Published weights, from files made here in the published format and served over the loopback interface."""

import dataclasses
import functools
import logging
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from hybrid_attention.networks import (
    DENSENET121,
    EFFICIENTNET_B0,
    RESNET18,
    DenseNet121Encoder,
    EfficientNetB0Encoder,
    HybridAttentionNet,
    ResNet18Encoder,
    TripleEncoderUNet,
    encoders,
    explainable,
)

from tests.networks.published import densenet121, efficientnet_b0, resnet18, save

R, D, E = "resnet18", "densenet121", "efficientnet-b0"
PUBLISHED = {R: RESNET18, D: DENSENET121, E: EFFICIENTNET_B0}
CONSTANTS = {R: "RESNET18", D: "DENSENET121", E: "EFFICIENTNET_B0"}
STATES = {R: resnet18, D: densenet121, E: efficientnet_b0}
STEMS = {R: "conv1.weight", D: "features.conv0.weight", E: "_conv_stem.weight"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    return {name: save(name, state(), folder) for name, state in STATES.items()}


@pytest.fixture
def publish(files, tmp_path, monkeypatch):
    """Make "imagenet" mean the files of a folder on a server; its address and the cache that is still empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for name, path in files.items():
            here = dataclasses.replace(PUBLISHED[name], url=f"{address}/{path.name}")
            monkeypatch.setattr(encoders, CONSTANTS[name], here)
            monkeypatch.setitem(explainable.ENCODERS, name, (explainable.ENCODERS[name][0], here))
        yield SimpleNamespace(address=address, cache=tmp_path / "cache" / "hub" / "checkpoints")
        server.shutdown()


def starts_from(net, name):
    return torch.equal(next(net.encoders[name].parameters()), STATES[name]()[STEMS[name]])


KNOWN = {  # of the published files: shape, or None where there is none
    R: {"conv1.weight": (64, 3, 7, 7), "layer1.0.downsample.0.weight": None, "layer2.0.downsample.0.bias": None},
    D: {"features.denseblock1.denselayer1.norm.1.running_mean": (64,), "features.conv0.weight": (64, 3, 7, 7)},
    E: {"_blocks.0._expand_conv.weight": None, "_blocks.3._depthwise_conv.weight": (144, 1, 5, 5)},
}


def test_the_published_names_are_the_known_ones():
    """Guard the imitation itself."""
    assert [len(STATES[name]()) for name in KNOWN] == [102, 606, 360]
    for name, shapes in KNOWN.items():
        found = {key: STATES[name]().get(key) for key in shapes}
        assert {key: value if value is None else tuple(value.shape) for key, value in found.items()} == shapes
    names = ["resnet18-f37072fd.pth", "densenet121-a639ec97.pth", "efficientnet-b0-355c32eb.pth"]
    assert [PUBLISHED[name].file_name for name in KNOWN] == names


CUT = ("transition3", "denseblock4", "norm5", "classifier")


@pytest.mark.parametrize(
    ("encoder", "options", "name", "state", "unused"),
    [
        (ResNet18Encoder, {}, R, resnet18, {"fc"}),
        (EfficientNetB0Encoder, {}, E, efficientnet_b0, {"fc"}),
        (DenseNet121Encoder, {"depth": 3}, D, densenet121, set(CUT)),
        (DenseNet121Encoder, {"depth": 4}, D, lambda: densenet121(old_format=False), {"classifier"}),
    ],
)
def test_every_tensor_of_the_encoder_is_filled(encoder, options, name, state, unused, tmp_path):
    published = {PUBLISHED[name].rename(key): value for key, value in state().items()}
    net = encoder(weights=save(name, state(), tmp_path), **options)
    own = {re.sub(r"^stages\.\d+\.", "", key): value for key, value in net.state_dict().items()}
    for key, value in own.items():
        counter = key.endswith("num_batches_tracked") and key not in published  # files of an older format have none
        assert value == 0 if counter else torch.equal(value, published[key])
    assert {key.split(".")[0] for key in published.keys() - own.keys()} == unused


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (D, lambda s: s.pop("features.denseblock2.denselayer3.conv.2.weight"), r"1 weights missing \(denseblock2"),
        (D, lambda s: s.update({"features.fire.weight": torch.ones(1)}), r"unexpected \(fire.weight\)"),
        (D, lambda s: s.update({"features.norm0.bias": torch.ones(65)}), r"norm0.bias \(65,\) for \(64,\)"),
        (E, lambda s: s.pop("_blocks.7._se_expand.bias"), r"missing \(block7._se_expand.bias\)"),
        (R, lambda s: (s.clear(), s.update(efficientnet_b0())), "does not fit ResNet18Encoder.*missing"),
    ],
)
def test_a_file_of_another_network_is_refused(name, change, message, tmp_path):
    state = dict(STATES[name]())
    change(state)
    path = tmp_path / "other.pth"
    torch.save(state, path)
    with pytest.raises(ValueError, match=rf"{path}.*{message}"):
        TripleEncoderUNet(encoders=[name], encoder_weights=path)


def test_missing_damaged_and_foreign_files(files, tmp_path):
    whole = files[D].read_bytes()
    (tmp_path / "densenet121-12345678.pth").write_bytes(whole)
    (tmp_path / "cut.pth").write_bytes(whole[:1000])
    torch.save({"a": torch.tensor([1.0, torch.nan])}, tmp_path / "nan.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, error, message in (
        ("ImageNet", FileNotFoundError, "no file .*ImageNet"),
        ("densenet121-12345678.pth", RuntimeError, "12345678.pth is damaged"),
        ("cut.pth", RuntimeError, "cut.pth cannot be read"),
        ("nan.pth", ValueError, r"nan.pth .*1 of 1 weights contain NaN or infinity \(first: a\)"),
        ("list.pth", ValueError, "list.pth holds list"),
    ):
        with pytest.raises(error, match=message):
            DenseNet121Encoder(weights=tmp_path / name)


def test_only_flat_images_with_one_or_three_channels_have_imagenet_weights():
    for arguments, message in (({"in_channels": 2}, "got 2 and 2"), ({"spatial_dims": 3}, "got 3 and 3")):
        with pytest.raises(ValueError, match=message):
            ResNet18Encoder(weights="imagenet", **arguments)


def test_download_happens_once_and_fills_every_encoder(files, publish, tmp_path):
    for path in files.values():
        (tmp_path / path.name).symlink_to(path)
    for _ in range(2):
        net = TripleEncoderUNet(encoder_weights="imagenet")
        assert all(starts_from(net, name) for name in STATES)
        for path in files.values():
            (tmp_path / path.name).unlink(missing_ok=True)  # a second download would fail
    spoilt = publish.cache / files[D].name
    spoilt.write_bytes(b"spoilt")
    with pytest.raises(RuntimeError, match=f"{re.escape(str(spoilt))} is damaged"):
        HybridAttentionNet(encoder_weights="imagenet")


def test_a_failed_download_is_an_error_never_a_random_start_and_not_kept(files, publish, tmp_path):
    (tmp_path / files[D].name).write_bytes(b"not the weights")
    with pytest.raises(RuntimeError, match=f"{publish.address}/{files[D].name}.*hash.*encoder_weights"):
        HybridAttentionNet(encoder_weights="imagenet")
    with pytest.raises(RuntimeError, match=r"cannot download .*/efficientnet-b0-.*404"):
        TripleEncoderUNet(encoders=[E], encoder_weights="imagenet")
    assert list(publish.cache.iterdir()) == []


def test_a_folder_fills_all_and_a_mapping_those_it_gives_a_file(files, publish, caplog):
    net = TripleEncoderUNet(encoder_weights=str(files[R].parent))
    assert all(starts_from(net, name) for name in STATES)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="hybrid_attention"):
        net = TripleEncoderUNet(encoder_weights={E: str(files[E]), R: files[R], D: None})
    assert [starts_from(net, name) for name in (R, D, E)] == [True, False, True]
    assert ["random weights" in record.getMessage() for record in caplog.records] == [False, True, False]
    with pytest.raises(ValueError, match=r"\('resnet18', 'efficientnet-b0'\)"):
        TripleEncoderUNet(encoders=[R, E], encoder_weights={R: None})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda folder, files: folder, r"resnet18-f37072fd\.pth.*Download https://download"),
        (lambda folder, files: "ImageNet", r"'ImageNet'.*resnet18-f37072fd\.pth, https.*355c32eb\.pth"),
        (lambda folder, files: files[R], "for 3 encoders"),
    ],
)
def test_missing_files_are_named_with_their_address(files, tmp_path, given, message):
    with pytest.raises(FileNotFoundError, match=message):
        TripleEncoderUNet(encoder_weights=given(tmp_path, files))


def test_frozen_encoders_need_weights_or_the_word_random(files):
    TripleEncoderUNet(encoders=[R], freeze_encoders=True, encoder_weights=files[R])
    for nothing in (None, {R: None}):
        with pytest.raises(ValueError, match=r"encoder_weights.*'random'"):
            TripleEncoderUNet(encoders=[R], freeze_encoders=True, encoder_weights=nothing)
