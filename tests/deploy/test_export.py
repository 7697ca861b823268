"""Exported networks: the numbers of the original at sizes that were not traced, and what the files tell."""

import copy
import json
import sys

import pytest
import torch
from hybrid_attention.cli import main
from hybrid_attention.deploy.export import export_bundle, export_onnx, export_torchscript, inference_form, state_digest
from hybrid_attention.deploy.onnx_networks import ExportedNetwork
from hybrid_attention.engines import save_weights
from hybrid_attention.engines.bundles import bundle_folder, bundle_network, inference_parser
from hybrid_attention.engines.weights import weights_digest
from hybrid_attention.networks import (
    DeepAttentionUNet,
    HybridAttentionNet,
    MaskAndClasses,
    MultiTaskOCANet,
    TripleEncoderUNet,
    baselines,
)
from hybrid_attention.networks.blocks.attention import NonLocal
from hybrid_attention.networks.blocks.sfeb import SFEB, WindowMean
from torch import nn

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

NETWORKS = {
    "SFEB": lambda: SFEB(2, 4),
    "non-local": lambda: NonLocal(2, 4),
    "attention_unet": lambda: DeepAttentionUNet(2, 1, 1, (4, 8), 8, (8, 4), (0.3, 0.3), (0.3, 0.3)),
    "mtl_oca": lambda: MaskAndClasses(MultiTaskOCANet(channels=(16, 32))),
    "explainable": lambda: TripleEncoderUNet(encoders=("resnet18",)),
    "U-Net++": lambda: baselines.unet_plus_plus(channels=(4, 8, 8, 16, 16)),
}
CHANNELS = {"SFEB": 4, "non-local": 4, "attention_unet": 1, "mtl_oca": 2, "explainable": 3, "U-Net++": 3}
SHAPES = [(1, 64, 64), (3, 41, 77), (2, 96, 33)]


def unlike_birth(net):
    """Give batch norms statistics that folding them into convolutions must respect."""
    torch.manual_seed(0)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                tensor.uniform_(0.5, 1.5)
    return net.eval()


def images(channels, batch, *size):
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(sum(size)))


def assert_equal_at_all_sizes(found, net, channels):
    for shape in SHAPES:
        batch = images(channels, *shape)
        with torch.no_grad(), torch.jit.optimized_execution(False):
            torch.testing.assert_close(found(batch), net(batch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_equals_eager_at_sizes_that_were_not_traced(name, tmp_path):
    net = unlike_birth(NETWORKS[name]())
    done = export_onnx(net, tmp_path / "network.onnx", images(CHANNELS[name], 1, 64, 80))
    assert "traced" in done.method
    assert done.difference < 1e-4
    assert_equal_at_all_sizes(ExportedNetwork(done.path), net, CHANNELS[name])


@pytest.mark.parametrize("name", ["SFEB", "mtl_oca", "explainable"])
def test_torchscript_equals_eager_at_sizes_that_were_not_seen(name, tmp_path):
    net = unlike_birth(NETWORKS[name]())
    done = export_torchscript(net, tmp_path / "network.ts", images(CHANNELS[name], 1, 64, 80))
    assert done.method == "script"
    assert_equal_at_all_sizes(torch.jit.load(done.path), net, CHANNELS[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bundle", "channels"),
    [("hybrid", 3), ("explainable", 3), ("attention_unet", 1), ("mtl_oca", 2), ("hybrid_lite", 1)],
)
def test_networks_of_the_bundles(bundle, channels, tmp_path):
    net = unlike_birth(inference_parser(bundle_folder(bundle)).get_parsed_content("network_def"))
    export_onnx(net, tmp_path / "network.onnx", images(channels, 1, 64, 64))
    assert_equal_at_all_sizes(ExportedNetwork(tmp_path / "network.onnx"), net, channels)
    export_torchscript(net, tmp_path / "network.ts", images(channels, 1, 64, 64))
    assert_equal_at_all_sizes(torch.jit.load(tmp_path / "network.ts"), net, channels)


def test_han_as_onnx_tells_what_it_is(tmp_path):
    net = HybridAttentionNet().eval()
    export_onnx(net, tmp_path / "han.onnx", images(3, 1, 64, 64), name="hybrid")
    model = onnx.load(str(tmp_path / "han.onnx"))
    facts = {one.key: one.value for one in model.metadata_props}
    assert facts["name"] == "hybrid"
    assert facts["weights_sha256"] == state_digest(net)
    assert facts["torch"] == torch.__version__
    sides = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert sides["image"] == ["batch", 3, "height", "width"]
    assert sides["pred"][0] == "batch"
    assert model.opset_import[0].version == 20


def test_torchscript_tells_what_it_is_and_refuses_what_does_not_fit(tmp_path):
    net = NETWORKS["attention_unet"]().eval()
    export_torchscript(net, tmp_path / "network.ts", images(1, 1, 64, 64))
    files = {"hybrid_attention.json": ""}
    loaded = torch.jit.load(tmp_path / "network.ts", _extra_files=files)
    assert json.loads(files["hybrid_attention.json"])["weights_sha256"] == state_digest(net)
    with pytest.raises(torch.jit.Error, match="expected 1 input channels, received 3"):
        loaded(images(3, 1, 64, 64))


class Unscriptable(nn.Module):
    def forward(self, x):
        return {"double": x * 2, **{}}["double"]


def test_what_does_not_script_is_traced(tmp_path):
    done = export_torchscript(Unscriptable(), tmp_path / "network.ts", images(1, 1, 8, 8))
    assert done.method == "trace"
    assert torch.equal(torch.jit.load(done.path)(torch.ones(2, 1, 4, 5)), torch.full((2, 1, 4, 5), 2.0))


class AreaOfTheFirstImage(nn.Module):
    """What tracing freezes: the number of pixels of the example."""

    def forward(self, x):
        return x * float(x.shape[2] * int(x.shape[3]))


def test_a_frozen_size_is_found_out_and_the_other_exporter_takes_over(tmp_path):
    done = export_onnx(AreaOfTheFirstImage(), tmp_path / "network.onnx", images(1, 1, 8, 8))
    assert "torch.export" in done.method
    found = ExportedNetwork(done.path)(torch.ones(1, 1, 4, 6))
    assert torch.equal(found, torch.full((1, 1, 4, 6), 24.0))


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def test_a_file_that_computes_something_else_is_refused_and_not_left(tmp_path):
    with pytest.raises(ValueError, match=r"Noise can't be exported to TorchScript .script: its output .* differs"):
        export_torchscript(Noise(), tmp_path / "network.ts", images(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"Noise can't be exported to ONNX .*; .*"):
        export_onnx(Noise(), tmp_path / "network.onnx", images(1, 1, 8, 8))
    assert not list(tmp_path.iterdir())


def test_local_means_become_pooling_with_the_same_borders():
    net = nn.Sequential(WindowMean(2), nn.ReLU())
    form = inference_form(net)
    assert isinstance(net[0], WindowMean)
    assert isinstance(form[0], nn.AvgPool2d)
    for size in ((1, 1), (2, 5), (7, 6)):
        batch = images(3, 2, *size)
        torch.testing.assert_close(form(batch), net(batch))


def test_the_network_stays_as_it_is(tmp_path):
    net = SFEB(2, 4).train()
    before = copy.deepcopy(net.state_dict())
    export_onnx(net, tmp_path / "network.onnx", images(4, 1, 16, 16))
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_digest_sees_weights_but_no_layout():
    torch.manual_seed(0)
    net = MultiTaskOCANet(channels=(16, 32))
    same = copy.deepcopy(net).eval().to(memory_format=torch.channels_last)
    assert state_digest(same) == state_digest(net)
    with torch.no_grad():
        same.head.weight[0, 0] += 1e-6
    assert state_digest(same) != state_digest(net)


def test_missing_package_is_named(tmp_path, monkeypatch):
    for package in ("onnxruntime", "onnxscript", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"need the package {package}: pip install '\.\[export\]'"):
            export_onnx(nn.ReLU(), tmp_path / "network.onnx", images(1, 1, 8, 8))


@pytest.fixture(scope="module")
def eager():
    return bundle_network(bundle_folder("hybrid"))


def logits(network, *shape):
    with torch.no_grad():
        return network(torch.rand(shape, generator=torch.Generator().manual_seed(1)))


def test_onnx_and_int8_from_the_command_line(eager, phantoms, tmp_path, capsys):
    assert main(["export", "hybrid", "--out", str(tmp_path / "han.onnx")]) == 0
    assert "han.onnx (torch.onnx, traced): logits differ by" in capsys.readouterr().out
    exported = ExportedNetwork(tmp_path / "han.onnx")
    torch.testing.assert_close(logits(exported, 2, 3, 96, 64), logits(eager, 2, 3, 96, 64), rtol=1e-3, atol=1e-3)
    images = str(phantoms / "benign")
    assert main(["export", "hybrid", "--out", str(tmp_path / "int8.onnx"), "--int8", images]) == 0
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * (tmp_path / "han.onnx").stat().st_size
    rounded = logits(ExportedNetwork(tmp_path / "int8.onnx"), 1, 3, 64, 64)
    assert rounded.shape == (1, 1, 64, 64)


def test_a_run_without_the_edge_channel(tmp_path):
    network = MultiTaskOCANet(in_channels=1, num_classes=None, channels=(16, 16))
    save_weights(network, tmp_path / "model.pt")
    definition = {"_target_": "hybrid_attention.networks.MultiTaskOCANet", "in_channels": "@in_channels"}
    recipe = {
        "network_def": {**definition, "num_classes": "@num_classes", "channels": [16, 16]},
        **{"edge_channel": False, "class_names": None, "image_size": 64},
    }
    record = {"weights_sha256": weights_digest(tmp_path / "model.pt"), "recipe": recipe}
    (tmp_path / "training.json").write_text(json.dumps(record))
    export_bundle("mtl_oca", tmp_path / "masks.onnx", tmp_path)
    assert logits(ExportedNetwork(tmp_path / "masks.onnx"), 1, 1, 64, 64).shape == (1, 1, 64, 64)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("han.tflite", {}, r"must end with \.onnx or \.ts or \.pt, got 'han\.tflite'"),
        ("han.ts", {"calibration": "images"}, r"int8 can only be written as \.onnx"),
        ("han.onnx", {"weights": "nowhere"}, "no weights at nowhere"),
    ],
)
def test_what_cannot_be_written(name, options, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        export_bundle("hybrid", tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []
