"""Published weights, from files made here in the published format and served over the loopback interface."""

import dataclasses
import functools
import http.server
import logging
import re
import threading
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
from hybrid_attention.networks.pretrained import source_of_each

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
def serve(tmp_path, monkeypatch):
    """Give a function that serves a folder, with a fresh cache of `torch.hub`."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = []

    def start(folder):
        requests = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                requests.append(self.path)

        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        running.append((web, thread))
        cached = tmp_path / "cache" / "hub" / "checkpoints"
        return SimpleNamespace(address=f"http://127.0.0.1:{web.server_port}", requests=requests, cached=cached)

    yield start
    for web, thread in running:
        web.shutdown()
        thread.join()
        web.server_close()


@pytest.fixture
def publish(files, monkeypatch):
    """Give a function that makes "imagenet" mean the files made here, at an address."""

    def published(address="http://127.0.0.1:1", **names):
        for name, path in files.items():
            here = dataclasses.replace(PUBLISHED[name], url=f"{address}/{names.get(CONSTANTS[name], path.name)}")
            monkeypatch.setattr(encoders, CONSTANTS[name], here)
            monkeypatch.setitem(explainable.ENCODERS, name, (explainable.ENCODERS[name][0], here))

    return published


def starts_from(net, name):
    return torch.equal(next(net.encoders[name].parameters()), STATES[name]()[STEMS[name]])


KNOWN = [  # of the published files: names, and the shape or None where there is none
    (R, "conv1.weight", (64, 3, 7, 7)),
    (R, "layer1.0.downsample.0.weight", None),
    (R, "layer2.0.downsample.0.bias", None),
    (D, "features.conv0.weight", (64, 3, 7, 7)),
    (D, "features.denseblock1.denselayer1.norm.1.running_mean", (64,)),
    (D, "features.denseblock3.denselayer24.conv.2.weight", (32, 128, 3, 3)),
    (E, "_conv_stem.weight", (32, 3, 3, 3)),
    (E, "_blocks.0._expand_conv.weight", None),
    (E, "_blocks.3._depthwise_conv.weight", (144, 1, 5, 5)),
    (E, "_fc.weight", (1000, 1280)),
]


def test_the_published_names_are_the_known_ones():
    """Guard the imitation itself."""
    assert [len(STATES[name]()) for name in (R, D, E)] == [102, 606, 360]
    for name, key, shape in KNOWN:
        tensor = STATES[name]().get(key)
        assert (tensor if tensor is None else tuple(tensor.shape)) == shape
    names = ["resnet18-f37072fd.pth", "densenet121-a639ec97.pth", "efficientnet-b0-355c32eb.pth"]
    assert [PUBLISHED[name].file_name for name in (R, D, E)] == names


@pytest.mark.parametrize(
    ("encoder", "name", "state", "unused"),
    [
        (lambda path: ResNet18Encoder(weights=path), R, resnet18, {"fc"}),
        (lambda path: EfficientNetB0Encoder(weights=path), E, efficientnet_b0, {"fc"}),
        *(
            (lambda path, depth=depth: DenseNet121Encoder(depth=depth, weights=path), D, state, {"classifier", *unused})
            for depth, unused in ((3, ("transition3", "denseblock4", "norm5")), (4, ()))
            for state in (densenet121, lambda: densenet121(old_format=False))
        ),
    ],
)
def test_every_tensor_of_the_encoder_is_filled(encoder, name, state, unused, tmp_path):
    published = {PUBLISHED[name].rename(key): value for key, value in state().items()}
    net = encoder(save(name, state(), tmp_path))
    own = {re.sub(r"^stages\.\d+\.", "", key): value for key, value in net.state_dict().items()}
    for key, value in own.items():
        counter = key.endswith("num_batches_tracked") and key not in published  # files of an older format have none
        assert value == 0 if counter else torch.equal(value, published[key])
    assert {key.split(".")[0] for key in published.keys() - own.keys()} == unused


def test_network_differs_from_a_random_start_in_the_encoder_only(files, caplog):
    with caplog.at_level(logging.INFO, logger="hybrid_attention"):
        torch.manual_seed(3)
        random = HybridAttentionNet()
        torch.manual_seed(3)
        loaded = HybridAttentionNet(encoder_weights=str(files[D]))
    pairs = zip(*(n.named_parameters() for n in (random, loaded)), strict=True)
    assert {key.split(".")[0] for (key, p), (_, q) in pairs if not torch.equal(p, q)} == {"encoder"}
    first, second = (record.getMessage() for record in caplog.records)
    assert "random weights" in first and DENSENET121.url in first
    assert str(files[D]) in second


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (D, lambda s: s.pop("features.denseblock2.denselayer3.conv.2.weight"), r"1 weights missing \(denseblock2"),
        (D, lambda s: s.update({"features.fire.weight": torch.ones(1)}), r"unexpected \(fire.weight\)"),
        (D, lambda s: s.update({"features.norm0.bias": torch.ones(65)}), r"norm0.bias \(65,\) for \(64,\)"),
        (R, lambda s: s.pop("layer3.0.downsample.1.bias"), r"1 weights missing \(layer3.0.downsample.1.bias\)"),
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


def test_parts_cut_off_may_be_absent_only_when_they_are_cut_off(tmp_path):
    cut = ("features.transition3.", "features.denseblock4.", "features.norm5.", "classifier.")
    path = tmp_path / "short.pth"
    torch.save({key: value for key, value in densenet121().items() if not key.startswith(cut)}, path)
    DenseNet121Encoder(depth=3, weights=path)
    with pytest.raises(ValueError, match="missing"):
        DenseNet121Encoder(depth=4, weights=path)


@pytest.mark.parametrize(
    ("name", "write", "error", "message"),
    [
        ("ImageNet", lambda path, file: None, FileNotFoundError, "no file .*ImageNet"),
        (
            "densenet121-12345678.pth",
            lambda path, file: path.write_bytes(file.read_bytes()),
            RuntimeError,
            "12345678.pth is damaged",
        ),
        (
            "cut.pth",
            lambda path, file: path.write_bytes(file.read_bytes()[:1000]),
            RuntimeError,
            "cut.pth cannot be read",
        ),
        (
            "nan.pth",
            lambda path, file: torch.save({"a": torch.tensor([1.0, torch.nan])}, path),
            ValueError,
            r"nan.pth can't be used: 1 of 1 weights contain NaN or infinity \(first: a\)",
        ),
        ("list.pth", lambda path, file: torch.save([1, 2], path), ValueError, "list.pth holds list"),
    ],
)
def test_missing_damaged_and_foreign_files(files, tmp_path, name, write, error, message):
    write(tmp_path / name, files[D])
    with pytest.raises(error, match=message):
        DenseNet121Encoder(weights=tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"in_channels": 2}, "got 2 and 2"), ({"spatial_dims": 3}, "got 3 and 3")]
)
def test_only_flat_images_with_one_or_three_channels_have_imagenet_weights(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet18Encoder(weights="imagenet", **arguments)


# ---- the internet, played by a server here


def test_download_happens_once_and_fills_every_encoder(files, publish, serve):
    web = serve(files[R].parent)
    publish(web.address)
    for _ in range(2):
        net = TripleEncoderUNet(encoder_weights="imagenet")
        assert all(starts_from(net, name) for name in STATES)
    assert sorted(web.requests) == sorted(f"/{path.name}" for path in files.values())
    cached = web.cached / files[D].name
    assert {path.name for path in web.cached.iterdir()} == {path.name for path in files.values()}
    cached.write_bytes(b"spoilt")
    with pytest.raises(RuntimeError, match=f"{re.escape(str(cached))} is damaged"):
        HybridAttentionNet(encoder_weights="imagenet")


def test_download_of_the_wrong_content_is_refused_and_not_kept(publish, serve, tmp_path):
    (tmp_path / "densenet121-00000000.pth").write_bytes(b"not the weights")
    web = serve(tmp_path)
    publish(web.address, DENSENET121="densenet121-00000000.pth")
    with pytest.raises(RuntimeError, match=f"{web.address}/densenet121-00000000.pth.*hash.*encoder_weights"):
        HybridAttentionNet(encoder_weights="imagenet")
    assert list(web.cached.iterdir()) == []


@pytest.mark.parametrize("reachable", [True, False])
def test_an_unreachable_file_is_an_error_and_never_a_random_start(publish, serve, tmp_path, reachable):
    web = serve(tmp_path)
    publish(web.address if reachable else "http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match=r"cannot download .*http://127.0.0.1:\d+/efficientnet-b0-"):
        TripleEncoderUNet(encoders=[E], encoder_weights="imagenet")


# ---- several encoders at once


def test_a_folder_fills_all_and_a_mapping_those_it_gives_a_file(files, publish, caplog):
    publish()
    net = TripleEncoderUNet(encoder_weights=str(files[R].parent))
    assert all(starts_from(net, name) for name in STATES)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="hybrid_attention"):
        net = TripleEncoderUNet(encoder_weights={E: str(files[E]), R: files[R], D: None})
    assert [starts_from(net, name) for name in (R, D, E)] == [True, False, True]
    assert ["random weights" in record.getMessage() for record in caplog.records] == [False, True, False]


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


@pytest.mark.parametrize("given", [{R: None}, {R: None, D: None, E: None}])
def test_a_mapping_names_each_encoder(given):
    with pytest.raises(ValueError, match=r"\('resnet18', 'efficientnet-b0'\)"):
        source_of_each(given, {R: RESNET18, E: EFFICIENTNET_B0})


def test_frozen_encoders_need_weights_or_the_word_random(files):
    TripleEncoderUNet(encoders=[R], freeze_encoders=True, encoder_weights=files[R])
    TripleEncoderUNet(encoders=[R], freeze_encoders=True, encoder_weights="random")
    for nothing in (None, {R: None}):
        with pytest.raises(ValueError, match=r"encoder_weights.*'random'"):
            TripleEncoderUNet(encoders=[R], freeze_encoders=True, encoder_weights=nothing)
