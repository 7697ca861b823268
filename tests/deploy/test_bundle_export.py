import json
import shutil

import pytest
import torch
from hybrid_attention.cli import main
from hybrid_attention.deploy.export import export_bundle
from hybrid_attention.engines import save_weights
from hybrid_attention.engines.bundles import bundle_folder, bundle_network
from hybrid_attention.engines.trained_weights import weights_digest
from hybrid_attention.networks import MultiTaskOCANet

pytest.importorskip("onnx", reason="the extra `export` is not installed")


@pytest.fixture(scope="module")
def eager():
    return bundle_network(bundle_folder("hybrid"))


def logits(network, *shape):
    with torch.no_grad():
        return network(torch.rand(shape, generator=torch.Generator().manual_seed(1)))


def test_onnx_and_int8_from_the_command_line(eager, phantoms, tmp_path, capsys):
    from hybrid_attention.deploy.onnx_networks import OnnxRuntimeNetwork

    assert main(["export", "hybrid", "--out", str(tmp_path / "han.onnx")]) == 0
    assert "han.onnx (torch.onnx, traced): logits differ by" in capsys.readouterr().out
    exported = OnnxRuntimeNetwork(tmp_path / "han.onnx")
    torch.testing.assert_close(logits(exported, 2, 3, 96, 64), logits(eager, 2, 3, 96, 64), rtol=1e-3, atol=1e-3)
    images = str(phantoms / "benign")
    assert main(["export", "hybrid", "--out", str(tmp_path / "int8.onnx"), "--int8", images]) == 0
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * (tmp_path / "han.onnx").stat().st_size
    rounded = logits(OnnxRuntimeNetwork(tmp_path / "int8.onnx"), 1, 3, 64, 64)
    assert rounded.shape == (1, 1, 64, 64)


def test_torchscript(eager, tmp_path):
    exported = export_bundle("hybrid", tmp_path / "han.ts")
    assert exported.method == "script"
    loaded = torch.jit.load(tmp_path / "han.ts")
    with torch.jit.optimized_execution(False):
        torch.testing.assert_close(logits(loaded, 1, 3, 64, 64), logits(eager, 1, 3, 64, 64), rtol=1e-4, atol=1e-4)


def test_a_run_without_the_edge_channel(tmp_path):
    from hybrid_attention.deploy.onnx_networks import OnnxRuntimeNetwork

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
    assert logits(OnnxRuntimeNetwork(tmp_path / "masks.onnx"), 1, 1, 64, 64).shape == (1, 1, 64, 64)


def test_a_bundle_without_weights(tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(bundle_folder("mtl_oca"), bare, ignore=shutil.ignore_patterns("models", "data"))
    with pytest.raises(FileNotFoundError, match=r"bare has no trained weights: .*--weights RUN\); bundles .* hybrid"):
        export_bundle(bare, tmp_path / "net.ts")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("han.tflite", {}, r"must end with \.onnx or \.ts or \.pt, got 'han\.tflite'"),
        ("han.ts", {"calibration": "images"}, r"int8 can only be written as \.onnx"),
        ("han.onnx", {"weights": "nowhere"}, "no weights at nowhere"),
    ],
)
def test_what_can_not_be_written(name, options, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        export_bundle("hybrid", tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []
