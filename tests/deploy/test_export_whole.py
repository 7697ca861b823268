"""The whole model as one ONNX file: the committed one, and what ONNX Runtime makes of it alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hybrid_attention.cli import main
from hybrid_attention.data import datalist, split_cases
from hybrid_attention.deploy.export_whole import export_whole, resize_matrix, whole_model
from hybrid_attention.engines.bundles import bundle_folder
from hybrid_attention.loading import load_model
from hybrid_attention.prediction.model import OUTPUTS
from hybrid_attention.prediction.result import expected_dice
from monai.transforms import Resize
from PIL import Image

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
ort = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

COMMITTED = bundle_folder("hybrid_lite") / "models" / "released" / "model.onnx"
SIZES = [(1, 1, 1), (7, 300, 3), (1000, 30, 1), (300, 257, 3)]


@pytest.fixture(scope="module")
def session():
    return ort.InferenceSession(COMMITTED)


@pytest.fixture(scope="module")
def reference():
    return whole_model("hybrid_lite")[0]


@pytest.fixture(scope="module")
def images(phantoms):
    """One image per class, and noise of odd sizes."""
    drawn = [np.array(Image.open(next((phantoms / name).glob("*).png"))))[..., None] for name in ("benign", "normal")]
    generator = np.random.default_rng(0)
    return [*drawn, *(generator.integers(0, 256, size, dtype=np.uint8) for size in SIZES)]


def run(session, image):
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"image": image}), strict=True))


def test_committed_file_equals_a_fresh_export_and_the_model_in_torch(session, reference, images, tmp_path, capsys):
    assert main(["export", "hybrid_lite", "--whole", "--out", str(tmp_path / "model.onnx")]) == 0
    assert "model.onnx" in capsys.readouterr().out
    fresh = ort.InferenceSession(tmp_path / "model.onnx")
    facts = [one.get_modelmeta().custom_metadata_map for one in (fresh, session)]
    assert {**facts[0], "version": ""} == {**facts[1], "version": ""}
    for image in images:
        found, again = run(session, image), run(fresh, image)
        for name in OUTPUTS:
            np.testing.assert_allclose(again[name], found[name], rtol=0, atol=1e-6, err_msg=name)
        assert found["probability"].shape == found["mask"].shape == image.shape[:2]
        assert [found[name].dtype for name in OUTPUTS] == [np.float32, np.uint8, np.float32, np.float32]
        with torch.no_grad():
            probability, _, classes, _ = reference(torch.from_numpy(image))
        apart = np.abs(found["probability"] - probability.numpy())
        assert apart.max() < 1e-4 and apart.mean() < 1e-5
        np.testing.assert_allclose(found["class_probability"], classes, atol=1e-5)
        by_hand = expected_dice(found["probability"], found["mask"])
        assert float(found["expected_dice"]) == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("size", [(500, 600), (256, 256), (100, 800), (61, 75), (257, 1024), (1, 700)])
def test_resizing_is_monai_s(size):
    image = torch.rand(size, generator=torch.Generator().manual_seed(0))
    expected = Resize((256, 256), mode="bilinear", anti_aliasing=True)(image[None])[0]
    found = resize_matrix(size[0], 256) @ image @ resize_matrix(size[1], 256).T
    torch.testing.assert_close(found, expected.as_tensor(), atol=2e-6, rtol=0)


@pytest.mark.parametrize("variable", [None, "BUSI_DIR", "BUS_BRA_DIR"])
def test_equals_the_bundle_s_own_pipeline(variable, phantoms, monkeypatch):
    """In fp32, as the file computes."""
    monkeypatch.setattr("hybrid_attention.engines.inferers.computes_bf16", lambda *_: False)
    folder = phantoms if variable is None else os.environ.get(variable)
    if folder is None:
        pytest.skip(f"{variable} is not set")
    cases = split_cases(datalist(folder), 0, 5, lesions_only=False).test
    by_torch, by_file = (load_model("hybrid_lite", backend=backend) for backend in ("torch", "onnx"))
    for case in cases[:: max(1, len(cases) // 10)]:
        expected, found = by_torch.predict(case["image"]), by_file.predict(case["image"])
        assert np.abs(found.probability - expected.probability).max() < 1 / 255
        assert (found.mask == expected.mask).mean() > 0.9999
        assert found.classes == pytest.approx(expected.classes, abs=1e-4)


def test_colours_and_constant_images(session):
    colours = np.random.default_rng(1).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    grey = np.array(Image.fromarray(colours).convert("L"))[..., None]  # as Pillow has it
    assert (run(session, colours)["probability"] == run(session, grey)["probability"]).all()
    black, white = (run(session, np.full((50, 60, 1), value, dtype=np.uint8)) for value in (0, 255))
    assert all(np.isfinite(black[name]).all() and (black[name] == white[name]).all() for name in OUTPUTS)


def test_normal_images_are_cleared(reference, images, monkeypatch):
    """By the threshold alone: nothing is cleared where it is above 1, everything where it is 0."""
    image = torch.from_numpy(images[0])
    with torch.no_grad():
        monkeypatch.setattr(reference, "normal_threshold", 1.1)
        assert reference(image)[1].any()
        monkeypatch.setattr(reference, "normal_threshold", 0.0)
        assert not reference(image)[0].any() and float(reference(image)[3]) == 0


def test_onnx_runtime_is_enough_and_the_file_tells_what_it_is(session):
    code = (
        "import sys; sys.modules.update(torch=None, monai=None, hybrid_attention=None)\n"
        "import numpy, onnxruntime\n"
        "image = numpy.arange(63 * 40).astype(numpy.uint8).reshape(63, 40, 1)\n"
        "print(onnxruntime.InferenceSession(sys.argv[1]).run(['class_probability'], {'image': image})[0].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code, COMMITTED], capture_output=True, text=True, check=True)
    image = np.arange(63 * 40).astype(np.uint8).reshape(63, 40, 1)
    np.testing.assert_allclose(json.loads(done.stdout), run(session, image)["class_probability"], atol=1e-6)
    assert onnx.load(COMMITTED).opset_import[0].version >= 18
    assert COMMITTED.stat().st_size < 8.5e6
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["name"] == "hybrid_lite" and "no medical device" in facts["intended_use"]
    assert json.loads(facts["class_names"]) == ["benign", "malignant", "normal"]
    settings = {"image_size": 256, "temperature": 1, "threshold": 0.5, "normal_threshold": 0.5}
    assert {name: json.loads(facts[name]) for name in settings} == settings
    assert len(facts["weights_sha256"]) == 64


def test_a_network_of_three_channels_without_classes_and_what_cannot_be_written(tmp_path):
    for bundle, name, message in (("hybrid_lite", "a.ts", r"a\.ts"), ("mtl_oca", "a.onnx", "mtl_oca")):
        with pytest.raises(ValueError, match=message):
            export_whole(bundle, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    exported = export_whole("hybrid", tmp_path / "han.onnx")
    assert exported.difference < 1e-4
    found = run(ort.InferenceSession(exported.path), np.arange(90, dtype=np.uint8).reshape(9, 10, 1))
    assert found["mask"].shape == (9, 10) and found["class_probability"].shape == (0,)
