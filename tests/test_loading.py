"""`hybrid_attention.load_model`, and the files of `predict` by the default model."""

import csv
import doctest
import json
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import hybrid_attention
import hybrid_attention.loading
import numpy as np
import pytest
from hybrid_attention.cli import main
from hybrid_attention.cli.info import facts as info
from hybrid_attention.data.hashing import file_digest
from hybrid_attention.loading import whole_file
from hybrid_attention.prediction import model as models
from hybrid_attention.prediction.bundles import DEFAULT_BUNDLE as DEFAULT
from PIL import Image


@pytest.fixture(scope="module")
def lesion(phantoms):
    return phantoms / "benign" / "benign (1).png"


def test_an_array_in_a_mask_out(model, lesion):
    image = np.asarray(Image.open(lesion).convert("L"))
    result = model.predict(image, spacing=(0.2, 0.1))
    assert result.mask.shape == result.probability.shape == image.shape
    assert result.mask.dtype == bool and result.probability.dtype == np.float32
    assert sum(result.classes.values()) == pytest.approx(1, abs=1e-5)
    assert result.measurements["unit"] == "mm"
    assert result.overlay().shape == (*image.shape, 3)
    for other in (lesion, Image.open(lesion), np.stack([image] * 3, axis=-1)):
        np.testing.assert_array_equal(model.predict(other).probability, result.probability)
    for values in (image.astype(np.float32) * 257, image.astype(np.int16) - 300, image / 255.0 - 1):
        np.testing.assert_allclose(model.predict(values).probability, result.probability, atol=0.02)


def test_many_lazily_in_order_and_in_threads(model, phantoms):
    paths = sorted((phantoms / "malignant").glob("*[0-9]).png"))
    alone = [model.predict(path).probability for path in paths]
    taken = []
    results = model.predict_many(taken.append(path) or path for path in paths * 4)
    next(results)
    assert len(taken) < len(paths) * 4
    for index, result in enumerate(results, start=1):
        np.testing.assert_array_equal(result.probability, alone[index % len(paths)])
    with ThreadPoolExecutor(4) as pool:
        for one, expected in zip(pool.map(model.predict, paths * 4), alone * 4, strict=True):
            np.testing.assert_array_equal(one.probability, expected)


def test_spacings_of_many(model, lesion, capsys):
    def units(*spacing):
        return [result.measurements["unit"] for result in model.predict_many([lesion] * 2, *spacing, progress=True)]

    assert units() == ["pixel", "pixel"]
    for spacing in (np.array([0.2, 0.1]), np.array([[0.2, 0.1]] * 2), [(0.2, 0.1)] * 2):
        assert units(spacing) == ["mm", "mm"]
    assert units([None, (0.2, 0.1)]) == ["pixel", "mm"]
    with pytest.raises(ValueError, match="shorter"):
        units([(0.2, 0.1)])
    assert "2/2" in capsys.readouterr().err


def test_the_command_writes_and_reports_what_the_model_predicts(model, phantoms, tmp_path):
    folder, outputs, report = phantoms / "malignant", ("mask", "probability", "uncertainty"), tmp_path / "run.json"
    words = ["predict", str(folder), "--out", str(tmp_path), "--pdf", "--report", str(report), "--outputs", *outputs]
    assert main(words) == 0
    assert (tmp_path / "predictions.pdf").read_bytes().count(b"/Type /Page ") == 6
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads(report.read_text())
    for row, image in zip(rows, content["images"], strict=True):
        result = model.predict(folder / row["case_id"])
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / row["mask"])), result.mask * 255)
        probability = np.asarray(Image.open(tmp_path / row["mask"].replace("_mask", "_probability")))
        np.testing.assert_allclose(probability / 255, result.probability, atol=0.5 / 255 + 1e-6)
        assert (tmp_path / row["mask"].replace("_mask", "_uncertainty")).is_file()
        assert float(row["expected_dice"]) == pytest.approx(result.expected_dice, abs=1e-6)
        assert row["predicted_class"] == result.predicted_class
        assert image["case_id"] == row["case_id"] and image["sha256"] == file_digest([folder / row["case_id"]])
    assert len(rows) == 6 and content["settings"] == {**model.facts, "threshold": model.threshold}
    assert content["options"]["images"] == str(folder) and content["seconds"] > 0
    assert content["bundle"]["weights_sha256"] == info()["bundles"][DEFAULT]["weights_sha256"]


def test_neither_torch_nor_monai(lesion, tmp_path):
    code = (
        "import sys; sys.modules.update(torch=None, monai=None); import hybrid_attention.cli as cli; "
        f"sys.exit(cli.main(['predict', {str(lesion)!r}, '--out', {str(tmp_path / 'out')!r}, '--pdf']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "benign (1)_mask.png").is_file()
    assert (tmp_path / "out" / "predictions.pdf").is_file()


def test_the_threshold(lesion):
    low, high = (hybrid_attention.load_model(threshold=threshold).predict(lesion) for threshold in (0.01, 0.99))
    assert low.mask.sum() > high.mask.sum()
    np.testing.assert_array_equal(low.mask, low.probability >= 0.01)
    with pytest.raises(ValueError, match=r"got 1\.5"):
        hybrid_attention.load_model(threshold=1.5)


def test_other_models_and_none(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("images/a.png", b"")
    whole = whole_file(DEFAULT)
    for name, options, error, message in (
        ("nothing", {}, FileNotFoundError, "no model nothing"),
        (tmp_path / "c.onnx", {}, FileNotFoundError, r"c\.onnx"),
        (tmp_path / "c.zip", {}, FileNotFoundError, r"c\.zip"),
        (tmp_path / "a.onnx", {}, ValueError, "a.onnx is not a readable ONNX model"),
        (tmp_path / "a.zip", {}, ValueError, "a.zip is damaged or not a ZIP archive"),
        (tmp_path / "b.zip", {}, ValueError, "b.zip is not an archive of `hybrid-attention package`"),
        (tmp_path / "b.zip", {"bundle": "hybrid"}, ValueError, "leave the bundle hybrid out"),
        (whole, {"backend": "torch"}, ValueError, "runs on the CPU by ONNX Runtime"),
        (whole, {"device": "cuda"}, ValueError, "runs on the CPU by ONNX Runtime"),
    ):
        with pytest.raises(error, match=message):
            hybrid_attention.load_model(name, **options)
    assert hybrid_attention.load_model(whole).class_names == ["benign", "malignant", "normal"]


@pytest.mark.parametrize(("outputs", "message"), [(["y"], "it gives y"), (models.OUTPUTS, "states nothing")])
def test_a_foreign_onnx_file(outputs, message, tmp_path):
    onnx = pytest.importorskip("onnx")
    given = ", ".join(f"float[1] {name}" for name in outputs)
    nodes = " ".join(f"{name} = Identity(x)" for name in outputs)
    text = f'<ir_version: 9, opset_import: ["" : 18]> g (float[1] x) => ({given}) {{ {nodes} }}'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "b.onnx")
    with pytest.raises(ValueError, match=message):
        hybrid_attention.load_model(tmp_path / "b.onnx")


def test_the_command_takes_a_whole_file(model, lesion, tmp_path, capsys):
    words = ["predict", str(lesion), "--out", str(tmp_path), "--weights", str(whole_file(DEFAULT))]
    assert main([*words, "--report", str(tmp_path / "run.json")]) == 0
    assert json.loads((tmp_path / "run.json").read_text())["weights_sha256"] == model.facts["weights_sha256"]
    mask = np.asarray(Image.open(tmp_path / "benign (1)_mask.png")) > 0
    np.testing.assert_array_equal(mask, model.predict(lesion).mask)
    for more in (["--outputs", "gradcam"], ["--bundle", "hybrid"]):
        assert main([*words, *more]) == 1
        assert "is a whole model" in capsys.readouterr().err


def test_what_the_command_cannot_predict(lesion, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", DEFAULT):
        (tmp_path / name).mkdir()
    shutil.make_archive("images", "zip", lesion.parent)
    for name in ("a.png", "a.dcm"):
        with open(name, "wb") as file:
            file.truncate(10**9)  # takes no space on the disk
    for words, message in (
        (["empty"], "no image"),
        (["images.zip"], "unpack it first"),
        (["a.png"], "a.png: not an image"),
        (["a.dcm"], "a.dcm: not a DICOM file"),
        ([str(lesion), "--weights", DEFAULT], str(tmp_path / DEFAULT)),  # the folder, not the bundle of that name
        ([str(lesion), "--frames", "all", "2"], "numbers from 1, got all 2"),
        ([str(lesion), "--frames", "0"], "numbers from 1, got 0"),
    ):
        assert main(["predict", "--out", "out", *words]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_examples_of_the_documentation():
    for module, examples in ((models, 3), (hybrid_attention.loading, 2)):
        done = doctest.testmod(module)
        assert done.attempted >= examples and done.failed == 0


def test_info(capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == info()
    assert found["bundles"]["hybrid_lite"]["whole_model"] and len(found["bundles"]) == 5
    assert found["packages"]["onnxruntime"]
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert found["bundles"]["hybrid"]["weights_sha256"][:12] in text and "attention_unet" in text
