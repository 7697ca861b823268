"""Published weights for several encoders at once; the files are made here, in the published formats."""

import ast
import dataclasses
import logging
import re

import pytest
import torch
import yaml
from hybrid_attention.networks import (
    DENSENET121,
    EFFICIENTNET_B0,
    RESNET18,
    EfficientNetB0Encoder,
    ResNet18Encoder,
    TripleEncoderUNet,
    encoders,
    triple_encoder_unet,
)
from hybrid_attention.networks.weights import source_of_each
from monai.bundle import ConfigParser
from monai.networks.nets import DenseNet121, EfficientNetBN, ResNet

R, D, E = "resnet18", "densenet121", "efficientnet-b0"
PUBLISHED = {R: RESNET18, D: DENSENET121, E: EFFICIENTNET_B0}
CONSTANTS = {R: "RESNET18", D: "DENSENET121", E: "EFFICIENTNET_B0"}
STEMS = {R: "conv1.weight", D: "features.conv0.weight", E: "_conv_stem.weight"}


@pytest.fixture(scope="module")
def states(unlike_birth):
    """The state of each network with its classifier, under the published names."""
    resnet = ResNet("basic", [2, 2, 2, 2], [64, 128, 256, 512], 2, 3, conv1_t_stride=2, bias_downsample=False)
    efficientnet = unlike_birth(EfficientNetBN("efficientnet-b0", pretrained=False)).state_dict()
    densenet = unlike_birth(DenseNet121(2, 3, out_channels=2)).state_dict()
    return {
        R: unlike_birth(resnet).state_dict(),
        D: {k.replace("class_layers.out", "classifier").replace(".layers.", "."): v for k, v in densenet.items()},
        E: {re.sub(r"^_blocks\.\d+\.", "_blocks.", key): value for key, value in efficientnet.items()},
    }


@pytest.fixture(scope="module")
def files(states, save_published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    return {name: save_published(name, state, folder) for name, state in states.items()}


@pytest.fixture
def published_here(files, monkeypatch):
    """Give a function that makes the three published files those made here, at an address."""

    def publish(address="http://127.0.0.1:1"):
        for name, path in files.items():
            here = dataclasses.replace(PUBLISHED[name], url=f"{address}/{path.name}")
            monkeypatch.setattr(encoders, CONSTANTS[name], here)
            monkeypatch.setitem(triple_encoder_unet.ENCODERS, name, (triple_encoder_unet.ENCODERS[name][0], here))

    return publish


def starts_from(net, state, name):
    return torch.equal(next(net.encoders[name].parameters()), state[STEMS[name]])


@pytest.mark.parametrize(
    ("weights", "file_name"), [(RESNET18, "resnet18-f37072fd.pth"), (EFFICIENTNET_B0, "efficientnet-b0-355c32eb.pth")]
)
def test_published_file_names(weights, file_name):
    assert weights.file_name == file_name
    assert weights.url.endswith(f"/{file_name}")


@pytest.mark.parametrize(("encoder", "name"), [(ResNet18Encoder, R), (EfficientNetB0Encoder, E)])
def test_every_tensor_of_the_encoder_is_filled(files, states, encoder, name):
    rename = PUBLISHED[name].rename
    found = {rename(key): value for key, value in states[name].items()}
    own = {re.sub(r"^stages\.\d+\.", "", k): v for k, v in encoder(weights=files[name]).state_dict().items()}
    for key, value in own.items():
        torch.testing.assert_close(value, found[key], rtol=0, atol=0)
    assert found.keys() - own.keys() == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (R, lambda s: s.pop("layer3.0.downsample.1.bias"), r"1 tensors are missing \(layer3.0.downsample.1.bias\)"),
        (R, lambda s: s.update({"layer2.0.downsample.0.bias": torch.ones(128)}), r"unknown \(layer2.0.downsample"),
        (R, lambda s: s.update({"conv1.weight": torch.ones(64, 1, 7, 7)}), r"conv1.weight \(64, 1, 7, 7\) for"),
        (E, lambda s: s.pop("_blocks.7._se_expand.bias"), r"missing \(block7._se_expand.bias\)"),
        (E, lambda s: s.update({"_blocks.16._bn0.bias": torch.ones(1)}), r"unknown \(block16._bn0.bias\)"),
    ],
)
def test_a_file_of_another_network_is_refused(states, tmp_path, name, change, message):
    state = dict(states[name])
    change(state)
    path = tmp_path / "other.pth"
    torch.save(state, path)
    with pytest.raises(ValueError, match=message):
        TripleEncoderUNet(encoders=[name], encoder_weights=path)


def test_an_encoder_s_file_given_for_another_is_refused(files):
    with pytest.raises(ValueError, match=r"does not fit ResNet18Encoder.*missing"):
        TripleEncoderUNet(encoders=[R], encoder_weights=files[E])


def test_a_folder_fills_all(files, states, published_here):
    published_here()
    net = TripleEncoderUNet(encoder_weights=str(files[R].parent))
    assert all(starts_from(net, states[name], name) for name in (R, D, E))


def test_a_mapping_fills_those_it_gives_a_file(files, states, caplog):
    with caplog.at_level(logging.INFO, logger="hybrid_attention"):
        net = TripleEncoderUNet(encoder_weights={E: str(files[E]), R: files[R], D: None})
    assert [starts_from(net, states[name], name) for name in (R, D, E)] == [True, False, True]
    messages = [record.getMessage() for record in caplog.records]
    assert [("random weights" in m, "the weights in" in m) for m in messages] == [
        (False, True),
        (True, False),
        (False, True),
    ]


def test_config_files_and_command_lines_can_say_it(files, states):
    text = f"net:\n  _target_: hybrid_attention.networks.TripleEncoderUNet\n  encoders: [{R}]\n  encoder_weights:\n"
    config = yaml.safe_load(text + f"    {R}: {files[R]}\n")
    assert starts_from(ConfigParser(config).get_parsed_content("net"), states[R], R)
    option = ast.literal_eval(f"{{'{R}': '{files[R]}', '{E}': None}}")
    assert starts_from(TripleEncoderUNet(encoders=[R, E], encoder_weights=option), states[R], R)


def test_imagenet_downloads_each_once(files, states, published_here, serve):
    web = serve(files[R].parent)
    published_here(web.address)
    for _ in range(2):
        net = TripleEncoderUNet(encoder_weights="imagenet")
        assert all(starts_from(net, states[name], name) for name in (R, D, E))
    assert sorted(web.requests) == sorted(f"/{path.name}" for path in files.values())
    assert {path.name for path in web.cached.iterdir()} == {path.name for path in files.values()}


def test_an_unreachable_file_is_an_error_and_never_a_random_start(published_here, serve, tmp_path):
    serve(tmp_path)  # for the empty cache
    published_here()
    with pytest.raises(RuntimeError, match=r"cannot download the encoder weights http://127.0.0.1:1/efficientnet-b0-"):
        TripleEncoderUNet(encoders=[E], encoder_weights="imagenet")


def test_damaged_and_missing_files(files, tmp_path):
    damaged = tmp_path / files[R].name
    damaged.write_bytes(files[R].read_bytes()[:-1])
    with pytest.raises(RuntimeError, match="is damaged: its name says SHA-256"):
        TripleEncoderUNet(encoders=[R], encoder_weights={R: damaged})
    with pytest.raises(FileNotFoundError, match=r"no file .*resnet18-f37072fd\.pth.*Download https://download"):
        TripleEncoderUNet(encoder_weights=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder 'ImageNet'.*resnet18-f37072fd\.pth, https.*355c32eb\.pth"):
        TripleEncoderUNet(encoder_weights="ImageNet")
    with pytest.raises(FileNotFoundError, match="for 2 encoders"):
        TripleEncoderUNet(encoders=[R, E], encoder_weights=files[R])


@pytest.mark.parametrize("given", [{R: None}, {R: None, D: None, E: None}, {}])
def test_a_mapping_names_each_encoder(given):
    with pytest.raises(ValueError, match=r"each of the encoders \('resnet18', 'efficientnet-b0'\) and no other"):
        source_of_each(given, {R: RESNET18, E: EFFICIENTNET_B0})


def test_one_word_counts_for_all():
    assert source_of_each(None, PUBLISHED) == {R: None, D: None, E: None}
    assert source_of_each("imagenet", PUBLISHED) == {R: "imagenet", D: "imagenet", E: "imagenet"}


def test_two_channels_and_volumes_have_no_imagenet_weights():
    with pytest.raises(ValueError, match="got 2"):
        TripleEncoderUNet(in_channels=2, encoder_weights="imagenet")
    with pytest.raises(ValueError, match="spatial_dims=2, got 3"):
        TripleEncoderUNet(spatial_dims=3, encoder_weights="imagenet")


def test_frozen_random_encoders_are_told_of(files, caplog):
    caplog.set_level("INFO")
    TripleEncoderUNet(encoders=[R], freeze_encoders=True, encoder_weights=files[R])
    assert "Frozen encoders" not in caplog.text
    TripleEncoderUNet(encoders=[R], freeze_encoders=True)
    assert "Frozen encoders with random weights" in caplog.text
