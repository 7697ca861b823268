"""The released network on images of every kind, and on what is none."""

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
from hybrid_attention.data.cases import DataError
from hybrid_attention.deploy.predictor import BundleModel
from hybrid_attention.engines import save_weights
from hybrid_attention.engines.weights import weights_digest
from hybrid_attention.networks import HybridAttentionNet, TripleEncoderUNet, with_group_norm
from hybrid_attention.networks.baselines import residual_unet
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


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_same_as_the_bundle(picture, tmp_path):
    words = [sys.executable, "-m", "hybrid_attention", "predict", picture, "--out", tmp_path / "a"]
    words += ["--backend", "torch", "--outputs", "mask", "overlay", "probability"]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert "1 images in" in done.stderr
    assert "random weights" not in done.stderr
    options = ("--dataset_dir", picture, "--output_dir", tmp_path / "b", "--probability", "True")
    bundle("inference", [config("hybrid_lite", "inference")], *options)
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == [
        *("lesion_mask.png", "lesion_overlay.png", "lesion_probability.png"),
        *("predictions.csv", "predictions.json"),
    ]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_places_with_signs_of_the_configs(picture, tmp_path):
    root = tmp_path / "study#7"
    for name in ("configs", "models"):
        shutil.copytree(config("hybrid", "train").parents[1] / name, root / "my@bundle" / name)
    (root / "IMAGES").mkdir()
    for name in ("img.png", "img#2.png"):
        shutil.copy(picture, root / "IMAGES" / name)
    rows = predict(root / "IMAGES", root / "RESULTS", root / "my@bundle")
    assert {row["case_id"] for row in rows} == {"img.png", "img#2.png"}
    assert (root / "RESULTS" / "img#2_mask.png").is_file()
    predict(root / "IMAGES", root / "AGAIN", weights=root / "my@bundle")
    assert (root / "AGAIN" / "img_mask.png").read_bytes() == (root / "RESULTS" / "img_mask.png").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["study#7"]


@pytest.mark.parametrize("shape", [(1, 2), (2, 300)])
def test_tiny_images(shape, tmp_path):
    Image.fromarray((np.arange(np.prod(shape)) % 250).reshape(shape).astype(np.uint8)).save(tmp_path / "tiny.png")
    (row,) = predict(tmp_path / "tiny.png", tmp_path / "out")
    assert (row["height"], row["width"]) == shape
    assert pixels(tmp_path / "out" / "tiny_mask.png").shape == shape


def test_a_file_that_is_not_an_image(tmp_path):
    (tmp_path / "notes.png").write_bytes(b"a text")
    with pytest.raises(DataError, match=r"not an image \(it starts with b'a text'\)"):
        predict(tmp_path / "notes.png", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


def test_a_checkpoint_with_code_is_refused_and_not_run(picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"encoder": Evil()}, "model.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("model.pt", "raw.pt"):
        with pytest.raises(ValueError, match="not a plain state dict"):
            predict(picture, "out", weights=name)
    assert not (tmp_path / "evil").exists()


def test_wrong_weights(picture, tmp_path):
    torch.save({"something": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"does not fit the network: \d+ weights missing"):
        predict(picture, tmp_path / "out", weights=tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match="no weights at nowhere"):
        predict(picture, tmp_path / "out", weights="nowhere")


def test_wrong_options(picture, tmp_path):
    with pytest.raises(ValueError, match=r"threshold must be between 0 and 1, got 1\.5"):
        BundleModel(threshold=1.5)
    with pytest.raises(ValueError, match=r"backend must be one of auto, torch, onnx, openvino, got 'tensorrt'"):
        predict(picture, tmp_path / "out", backend="tensorrt")
    with pytest.raises(ValueError, match="unet is not a bundle"):
        predict(picture, tmp_path / "out", bundle="unet")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        predict("nowhere", tmp_path / "out")
    with pytest.raises(ValueError, match="can't receive its own results"):
        predict(picture, os.path.dirname(picture))


def test_threshold_and_maps(picture, tmp_path):
    high = predict(picture, tmp_path / "high", threshold=0.9, outputs=["mask", "uncertainty"])
    low = predict(picture, tmp_path / "low", threshold=0.1, gradcam=True, outputs=["gradcam"])
    assert high[0]["lesion_pixels"] < low[0]["lesion_pixels"]
    assert {path.name for path in (tmp_path / "high").glob("*.png")} == {"lesion_mask.png", "lesion_uncertainty.png"}
    assert {path.name for path in (tmp_path / "low").glob("*.png")} == {"lesion_gradcam.png"}


def test_heat_maps_are_those_of_the_bundle(picture, tmp_path, capsys):
    words = ["predict", str(picture), "--out", str(tmp_path / "a"), "--outputs", "gradcam", "--precision", "fp32"]
    assert main(words) == 0
    options = ("--dataset_dir", picture, "--output_dir", tmp_path / "b", "--gradcam", "True", "--precision", "fp32")
    bundle("inference", [config("hybrid_lite", "inference")], *options)
    a, b = (pixels(tmp_path / folder / "lesion_gradcam.png") for folder in "ab")
    np.testing.assert_array_equal(a, b)
    with pytest.raises(SystemExit):
        main([*words[:4], "--gradcam"])
    assert "--gradcam is now called --outputs mask overlay gradcam" in capsys.readouterr().err


MAPS = (*PICTURES, "probability")


def test_inference_settings_of_calibrate(picture, tmp_path):
    settings = tmp_path / "inference_settings.json"
    settings.write_text(json.dumps({"flips": [[], [1]], "temperature": 2.0, "threshold": 0.6}))
    predict(picture, tmp_path / "a", outputs=MAPS, inference_settings=settings)
    options = ("--dataset_dir", picture, "--output_dir", tmp_path / "b", "--probability", "True")
    bundle("inference", [config("hybrid_lite", "inference"), settings], *options)
    predict(picture, tmp_path / "as_is", outputs=MAPS)
    for name in ("lesion_mask.png", "lesion_probability.png", "predictions.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    name = "lesion_probability.png"
    assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "as_is" / name).read_bytes()
    model = BundleModel(threshold=0.3, inference_settings=settings, precision="fp32")
    assert model.threshold == 0.3
    stated = {"flips": [[], [1]], "temperature": 2.0, "backend": "torch", "precision": "fp32"}
    assert {name: model.facts[name] for name in stated} == stated


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_runtimes_for_cpus_where_there_is_a_gpu(backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert BundleModel(backend=backend, precision="fp32").facts["backend"] == backend


def test_configs_that_were_packaged_earlier(tmp_path):
    """They passed the keyword `uncertainty` to `postprocessing`."""
    folder = tmp_path / "hybrid"
    for name in ("configs", "models"):
        shutil.copytree(config("hybrid", "train").parents[1] / name, folder / name)
    path = folder / "configs" / "inference.yaml"
    text = path.read_text()
    path.write_text(text.replace("fill_holes=@fill_holes", "uncertainty=@uncertainty, fill_holes=@fill_holes"))
    assert path.read_text() != text
    assert BundleModel(folder).threshold == 0.5


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
def test_files_that_are_not_inference_settings(wrong, picture, tmp_path):
    settings = tmp_path / "inference_settings.json"
    settings.write_text(json.dumps({"flips": [[]], "temperature": 1.0, "threshold": 0.5, **wrong}))
    with pytest.raises(ValueError, match="is not an inference_settings"):
        predict(picture, tmp_path / "out", inference_settings=settings)


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "computed by openvino" in done.stderr
    assert "ASKED FOR" not in done.stderr


def recorded_weights(folder, definition, **record):
    """Weights of any network, with a record that says what they are of."""
    torch.save({}, folder / "model.pt")
    known = {"weights_sha256": weights_digest(folder / "model.pt"), "recipe": {"network_def": definition}, **record}
    (folder / "training.json").write_text(json.dumps(known))
    return folder / "model.pt"


@pytest.mark.parametrize("bundle", ["hybrid", "mtl_oca"])
def test_a_record_with_code_is_refused_and_not_run(bundle, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = recorded_weights(tmp_path, {"_target_": "monai.networks.utils.torch.os.mkdir", "path": "evil"})
    with pytest.raises(ValueError, match="only networks of hybrid_attention"):
        predict(picture, "out", bundle=bundle, weights=weights)
    assert not (tmp_path / "evil").exists()


INNER = {"_target_": "hybrid_attention.networks.baselines.residual_unet", "channels": [4, 8]}
GROUP_NORM = {"_target_": "hybrid_attention.networks.with_group_norm", "network": INNER, "groups": 1}


@pytest.mark.parametrize(
    ("bundle", "changes", "network"),
    [
        ("hybrid", {"tam": False, "encoder_weights": "@encoder_weights"}, HybridAttentionNet(tam=False)),
        ("explainable", {"skips": True, "encoder_weights": "@encoder_weights"}, TripleEncoderUNet(skips=True)),
        ("hybrid", GROUP_NORM, with_group_norm(residual_unet(channels=[4, 8]), 1)),
    ],
)
def test_another_network_of_a_run(bundle, changes, network, picture, tmp_path):
    own = ConfigParser.load_config_file(config(bundle, "train"))["network_def"] if "_target_" not in changes else {}
    save_weights(network, tmp_path / "model.pt")
    recipe = {"network_def": {**own, **changes}, "image_size": 64, "model": 1}
    record = {"weights_sha256": weights_digest(tmp_path / "model.pt"), "recipe": recipe}
    (tmp_path / "training.json").write_text(json.dumps(record))
    (row,) = predict(picture, tmp_path / "out", bundle, tmp_path)
    assert (tmp_path / "out" / row["mask"]).is_file()


def test_a_bundle_without_weights_says_where_some_are(picture, tmp_path, capsys):
    bare, home = tmp_path / "bare", config("explainable", "inference").parents[1]
    shutil.copytree(home, bare, ignore=shutil.ignore_patterns("models", "data"))
    assert main(["predict", str(picture), "--out", str(tmp_path / "out"), "--bundle", str(bare)]) == 1
    error = capsys.readouterr().err
    assert "the bundle bare has no trained weights: train it, or name the folder of a run (--weights RUN)" in error
    assert error.endswith("; bundles that come with weights: hybrid, hybrid_lite, mtl_oca\n")


def test_weights_of_another_bundle_are_an_error(picture, tmp_path):
    of = {"provenance": {"config_files": {"hybrid/train.yaml": ""}}}
    weights = recorded_weights(tmp_path, {"_target_": "hybrid_attention.networks.HybridAttentionNet"}, **of)
    with pytest.raises(ValueError, match="trained with the bundle hybrid, not mtl_oca: name that bundle"):
        predict(picture, tmp_path / "out", "mtl_oca", weights)
    definition = {"_target_": "hybrid_attention.networks.HybridMultiTaskNet"}
    of = {"provenance": {"config_files": {"mtl_oca/train.yaml": ""}}}
    with pytest.raises(ValueError, match="trained with the bundle mtl_oca, not hybrid: name that bundle"):
        predict(picture, tmp_path / "out", "hybrid", weights=recorded_weights(tmp_path, definition, **of))
    (tmp_path / "training.json").write_text("[]")
    with pytest.raises(ValueError, match="not a record of a training"):
        predict(picture, tmp_path / "out", weights=tmp_path / "model.pt")


@pytest.mark.parametrize("words", [["all", "2"], ["0"]])
def test_frames_of_the_command_line(words, picture, tmp_path, capsys):
    command = ["predict", str(picture), "--out", str(tmp_path / "out"), "--frames", *words]
    assert main(command) == 1
    assert f"numbers from 1, got {' '.join(words)}" in capsys.readouterr().err


def test_files_of_an_earlier_call_give_a_warning(picture, tmp_path, caplog):
    shutil.copy(picture, tmp_path / "other.png")
    predict(picture, tmp_path / "out")
    predict(picture, tmp_path / "out")
    assert "earlier call" not in caplog.text
    predict(tmp_path / "other.png", tmp_path / "out")
    assert "still holds files of 1 images of an earlier call" in caplog.text
