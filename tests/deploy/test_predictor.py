"""Bundles with weights on images: as `monai.bundle run` predicts, and what is refused."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hybrid_attention.cli import main
from hybrid_attention.deploy.predictor import BundleModel
from hybrid_attention.engines import save_weights
from hybrid_attention.engines.weights import weights_digest
from hybrid_attention.networks import HybridAttentionNet, TripleEncoderUNet
from hybrid_attention.prediction.predict_folder import predict_folder
from hybrid_attention.prediction.result import PICTURES
from monai.bundle import ConfigParser
from PIL import Image

from tests.bundles.commands import bundle, config


@pytest.fixture(scope="module")
def picture(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("picture")
    return shutil.copy(phantoms / "benign" / "benign (1).png", folder / "lesion.png")


def predict(images, out, bundle=None, weights=None, outputs=PICTURES, **options):
    return predict_folder(BundleModel(bundle, weights, **options), images, out, outputs=outputs)


def settings_file(folder, **settings):
    path = folder / "inference_settings.json"
    path.write_text(json.dumps({"flips": [[], [1]], "temperature": 2.0, "threshold": 0.6, **settings}))
    return path


@pytest.mark.parametrize("calibrated", [False, True])
def test_same_as_the_bundle(calibrated, picture, tmp_path):
    a, b, settings = tmp_path / "a", tmp_path / "b", [settings_file(tmp_path)] if calibrated else []
    words = f"-m hybrid_attention predict {picture} --out {a} --backend torch --precision fp32 --outputs mask overlay"
    words = [*words.split(), "probability", "gradcam", *(["--inference_settings", *settings] if calibrated else [])]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 images in" in done.stderr and "random weights" not in done.stderr
    options = f"--dataset_dir {picture} --output_dir {b} --probability True --gradcam True --precision fp32".split()
    bundle("inference", [config("hybrid_lite", "inference"), *settings], *options)
    names = ["predictions.csv", "predictions.json"]
    names += [f"lesion_{what}.png" for what in ("mask", "overlay", "probability", "gradcam")]
    assert sorted(path.name for path in b.iterdir()) == sorted(names)
    for name in names:
        if name.endswith("png"):
            np.testing.assert_array_equal(np.asarray(Image.open(a / name)), np.asarray(Image.open(b / name)))
        else:
            assert (a / name).read_bytes() == (b / name).read_bytes()


def test_facts_and_options(picture, tmp_path, capsys):
    plain = BundleModel(device="cpu").predict(picture)
    model = BundleModel(threshold=0.3, inference_settings=settings_file(tmp_path), precision="fp32")
    assert not np.array_equal(model.predict(picture).probability, plain.probability)
    assert model.threshold == 0.3 and model.name.startswith("hybrid_lite, weights ")
    stated = {"flips": [[], [1]], "temperature": 2.0, "backend": "torch", "precision": "fp32"}
    assert {name: model.facts[name] for name in stated} == stated
    high, low = (BundleModel(threshold=threshold).predict(picture).mask.sum() for threshold in (0.9, 0.1))
    assert high < low
    Image.fromarray(np.array([[7, 250]], np.uint8)).save(tmp_path / "tiny.png")
    assert model.predict(tmp_path / "tiny.png").mask.shape == (1, 2)
    with pytest.raises(SystemExit):
        main(["predict", str(picture), "--out", str(tmp_path / "out"), "--gradcam"])
    assert "--gradcam is now called --outputs mask overlay gradcam" in capsys.readouterr().err


def test_places_with_signs_of_the_configs(picture, tmp_path):
    root = tmp_path / "study#7"
    for name in ("configs", "models"):
        shutil.copytree(config("hybrid", "train").parents[1] / name, root / "my@bundle" / name)
    (root / "IMAGES").mkdir()
    for name in ("img.png", "img#2.png"):
        shutil.copy(picture, root / "IMAGES" / name)
    rows = predict(root / "IMAGES", root / "RESULTS", root / "my@bundle")
    assert {row["case_id"] for row in rows} == {"img.png", "img#2.png"}
    predict(root / "IMAGES", root / "AGAIN", weights=root / "my@bundle")
    for name in ("img_mask.png", "img#2_mask.png"):
        assert (root / "AGAIN" / name).read_bytes() == (root / "RESULTS" / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["study#7"]


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"encoder": Evil()}, "model.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("model.pt", "raw.pt"):
        with pytest.raises(ValueError, match="not a plain state dict"):
            BundleModel(None, name)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threshold": 1.5}, ValueError, r"threshold must be between 0 and 1, got 1\.5"),
        ({"backend": "tensorrt"}, ValueError, r"backend must be one of auto, torch, onnx, openvino, got 'tensorrt'"),
        ({"bundle": "unet"}, ValueError, r"unet is not a bundle: .*attention_unet, explainable, hybrid"),
        ({"weights": "nowhere"}, FileNotFoundError, "no weights at nowhere"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        BundleModel(**options)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_runtimes_for_cpus_where_there_is_a_gpu(backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert BundleModel(backend=backend, precision="fp32").facts["backend"] == backend


def test_configs_that_were_packaged_earlier(tmp_path):
    """They passed the keyword `uncertainty` to `postprocessing`."""
    for name in ("configs", "models"):
        shutil.copytree(config("hybrid", "train").parents[1] / name, tmp_path / "hybrid" / name)
    path = tmp_path / "hybrid" / "configs" / "inference.yaml"
    text = path.read_text()
    path.write_text(text.replace("fill_holes=@fill_holes", "uncertainty=@uncertainty, fill_holes=@fill_holes"))
    assert path.read_text() != text
    assert BundleModel(tmp_path / "hybrid").threshold == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"flips": None},
        {"flips": "$__import__('os').mkdir('evil')"},
        {"flips": [["$__import__('os').mkdir('evil')"]]},
        {"temperature": "$1.0"},
        {"temperature": 0},
        {"threshold": 60},
        {"bundle_root": "here"},
    ],
)
def test_files_that_are_not_inference_settings(wrong, tmp_path):
    with pytest.raises(ValueError, match="is not an inference_settings"):
        BundleModel(inference_settings=settings_file(tmp_path, **wrong))


def test_nothing_is_sent_or_fetched(picture, tmp_path):
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    code = f"""
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        print("ASKED FOR", event, arguments, file=sys.stderr)
        raise PermissionError(event)
sys.addaudithook(watch)
from hybrid_attention.cli import main
sys.exit(main(["predict", {str(picture)!r}, "--out", {str(tmp_path / "out")!r}, "--backend", "openvino"]))
"""
    environment = {**os.environ, "HYBRID_ATTENTION_CACHE": str(tmp_path / "cache")}
    environment.pop("CI", None)  # which keeps OpenVINO quiet
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "computed by openvino" in done.stderr and "ASKED FOR" not in done.stderr


def record(weights, bundle, **recipe):
    """Write the record of a training beside its weights."""
    provenance = {"config_files": {f"{bundle}/train.yaml": ""}}
    known = {"weights_sha256": weights_digest(weights), "recipe": recipe, "provenance": provenance}
    weights.with_name("training.json").write_text(json.dumps(known))


@pytest.mark.parametrize(
    ("bundle", "changes", "network"),
    [
        ("hybrid", {"tam": False, "encoder_weights": "@encoder_weights"}, HybridAttentionNet(tam=False)),
        ("explainable", {"skips": True, "encoder_weights": "@encoder_weights"}, TripleEncoderUNet(skips=True)),
    ],
)
def test_another_network_of_a_run(bundle, changes, network, picture, tmp_path):
    own = ConfigParser.load_config_file(config(bundle, "train"))["network_def"]
    save_weights(network, tmp_path / "model.pt")
    record(tmp_path / "model.pt", bundle, network_def={**own, **changes}, image_size=64, model=1)
    (row,) = predict(picture, tmp_path / "out", bundle, tmp_path)
    assert (tmp_path / "out" / row["mask"]).is_file()


def test_weights_of_another_bundle_are_an_error(tmp_path):
    weights = tmp_path / "model.pt"
    torch.save({}, weights)
    for trained, other in (("hybrid", "mtl_oca"), ("mtl_oca", "hybrid")):
        record(weights, trained, network_def={"_target_": "hybrid_attention.networks.HybridMultiTaskNet"})
        with pytest.raises(ValueError, match=f"trained with the bundle {trained}, not {other}: name that bundle"):
            BundleModel(other, weights)
    (tmp_path / "training.json").write_text("[]")
    with pytest.raises(ValueError, match="not a record of a training"):
        BundleModel(None, weights)


def test_a_bundle_without_weights_says_where_some_are(picture, tmp_path, capsys):
    bare, home = tmp_path / "bare", config("explainable", "inference").parents[1]
    shutil.copytree(home, bare, ignore=shutil.ignore_patterns("models", "data"))
    assert main(["predict", str(picture), "--out", str(tmp_path / "out"), "--bundle", str(bare)]) == 1
    error = capsys.readouterr().err
    assert "the bundle bare has no trained weights: train it, or name the folder of a run (--weights RUN)" in error
    assert error.endswith("; bundles that come with weights: hybrid, hybrid_lite, mtl_oca\n")
