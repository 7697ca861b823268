"""Exported networks: the numbers of the original at sizes that were not traced, and what the files tell."""

import copy
import json
import sys

import pytest
import torch
from hybrid_attention.cli import main
from hybrid_attention.deploy.export import export_bundle, export_onnx, export_torchscript, state_digest
from hybrid_attention.deploy.onnx_networks import ExportedNetwork
from hybrid_attention.engines import save_weights
from hybrid_attention.engines.bundles import bundle_folder, bundle_network, inference_parser
from hybrid_attention.engines.weights import weights_digest
from hybrid_attention.networks import MultiTaskOCANet, TripleEncoderUNet, baselines
from hybrid_attention.networks.blocks.attention import NonLocal
from hybrid_attention.networks.blocks.sfeb import SFEB
from torch import nn

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

BUNDLES = [("hybrid", 3), ("explainable", 3), ("attention_unet", 1), ("mtl_oca", 2), ("hybrid_lite", 1)]  # channels
SHAPES = [(1, 64, 64), (3, 41, 77), (2, 96, 33)]


def of_bundle(name):
    return lambda: inference_parser(bundle_folder(name)).get_parsed_content("network_def")


def images(channels, batch, *size):
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(sum(size)))


@pytest.mark.parametrize(
    ("build", "channels", "script"),
    [
        (lambda: SFEB(2, 4), 4, "script"),
        (lambda: NonLocal(2, 4), 4, "script"),
        (lambda: TripleEncoderUNet(encoders=("resnet18",)), 3, "script"),
        (lambda: baselines.unet_plus_plus(channels=(4, 8, 8, 16, 16)), 3, "trace"),
        *(pytest.param(of_bundle(name), count, "script", marks=pytest.mark.slow, id=name) for name, count in BUNDLES),
    ],
)
def test_equals_eager_at_sizes_that_were_not_traced(build, channels, script, tmp_path):
    net, example = build().eval(), images(channels, 1, 64, 80)
    torch.manual_seed(0)
    for part in net.modules():  # statistics that folding batch norms into convolutions must respect
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                tensor.uniform_(0.5, 1.5)
    done, scripted = export_onnx(net, tmp_path / "a.onnx", example), export_torchscript(net, tmp_path / "a.ts", example)
    assert "traced" in done.method and scripted.method == script
    assert max(done.difference, scripted.difference) < 1e-4
    for found in (ExportedNetwork(done.path), torch.jit.load(scripted.path)):
        for shape in SHAPES:
            batch = images(channels, *shape)
            with torch.no_grad(), torch.jit.optimized_execution(False):
                torch.testing.assert_close(found(batch), net(batch), rtol=1e-4, atol=1e-4)


def test_files_tell_what_they_are_and_the_network_stays_as_it_is(tmp_path):
    net = SFEB(2, 4).train()
    before, example = copy.deepcopy(net.state_dict()), images(4, 1, 16, 16)
    model = onnx.load(export_onnx(net, tmp_path / "network.onnx", example, name="hybrid").path)
    facts = {one.key: one.value for one in model.metadata_props}
    assert (facts["name"], facts["weights_sha256"]) == ("hybrid", state_digest(net))
    assert facts["torch"] == torch.__version__
    (taken,) = model.graph.input
    sides = [side.dim_param or side.dim_value for side in taken.type.tensor_type.shape.dim]
    assert (taken.name, sides, model.graph.output[0].name) == ("image", ["batch", 4, "height", "width"], "pred")
    assert model.opset_import[0].version == 20
    files = {"hybrid_attention.json": ""}
    torch.jit.load(export_torchscript(net, tmp_path / "network.ts", example).path, _extra_files=files)
    assert json.loads(files["hybrid_attention.json"])["weights_sha256"] == state_digest(net)
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


class AreaOfTheFirstImage(nn.Module):
    """What tracing freezes: the number of pixels of the example."""

    def forward(self, x):
        return x * float(x.shape[2] * int(x.shape[3]))


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def test_what_the_first_exporter_can_not_do(tmp_path):
    example, ones = images(1, 1, 8, 8), torch.ones(1, 1, 4, 6)
    done = export_onnx(AreaOfTheFirstImage(), tmp_path / "network.onnx", example)
    assert "torch.export" in done.method and torch.equal(ExportedNetwork(done.path)(ones), 24 * ones)
    with pytest.raises(ValueError, match=r"Noise can't be exported to TorchScript .script: its output .* differs"):
        export_torchscript(Noise(), tmp_path / "noise.ts", example)
    with pytest.raises(ValueError, match=r"Noise can't be exported to ONNX .*; .*"):
        export_onnx(Noise(), tmp_path / "noise.onnx", example)
    assert not list(tmp_path.glob("noise*"))


def test_digest_sees_weights_but_no_layout():
    net = nn.Conv2d(3, 4, 3)
    same = copy.deepcopy(net).to(memory_format=torch.channels_last)
    assert state_digest(same) == state_digest(net)
    same.weight.data[0, 0] += 1e-6
    assert state_digest(same) != state_digest(net)


def test_missing_package_is_named(tmp_path, monkeypatch):
    for package in ("onnxruntime", "onnxscript", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"need the package {package}: pip install '\.\[export\]'"):
            export_onnx(nn.ReLU(), tmp_path / "network.onnx", images(1, 1, 8, 8))


def test_onnx_and_int8_from_the_command_line(phantoms, tmp_path, capsys):
    assert main(["export", "hybrid", "--out", str(tmp_path / "han.onnx")]) == 0
    assert "han.onnx (torch.onnx, traced): logits differ by" in capsys.readouterr().out
    batch = images(3, 2, 96, 64)
    expected = bundle_network(bundle_folder("hybrid"))(batch).detach()
    torch.testing.assert_close(ExportedNetwork(tmp_path / "han.onnx")(batch), expected, rtol=1e-3, atol=1e-3)
    words = ["export", "hybrid", "--out", str(tmp_path / "int8.onnx"), "--int8", str(phantoms / "benign")]
    assert main(words) == 0
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * (tmp_path / "han.onnx").stat().st_size
    assert ExportedNetwork(tmp_path / "int8.onnx")(batch).shape == expected.shape


def test_a_run_without_the_edge_channel(tmp_path):
    save_weights(MultiTaskOCANet(in_channels=1, num_classes=None, channels=(16, 16)), tmp_path / "model.pt")
    definition = {"_target_": "hybrid_attention.networks.MultiTaskOCANet", "in_channels": "@in_channels"}
    recipe = {"edge_channel": False, "class_names": None, "image_size": 64}
    recipe["network_def"] = {**definition, "num_classes": "@num_classes", "channels": [16, 16]}
    record = {"weights_sha256": weights_digest(tmp_path / "model.pt"), "recipe": recipe}
    (tmp_path / "training.json").write_text(json.dumps(record))
    export_bundle("mtl_oca", tmp_path / "masks.onnx", tmp_path)
    assert ExportedNetwork(tmp_path / "masks.onnx")(images(1, 1, 64, 64)).shape == (1, 1, 64, 64)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"must end with \.onnx or \.ts or \.pt, got 'han\.tflite'"):
        export_bundle("hybrid", tmp_path / "han.tflite")
    with pytest.raises(ValueError, match=r"int8 can only be written as \.onnx"):
        export_bundle("hybrid", tmp_path / "han.ts", calibration="images")
    assert list(tmp_path.iterdir()) == []
