"""The handlers in MONAI's own evaluator."""

import json
import logging

import numpy as np
import pytest
import torch
from hybrid_attention.engines import PrecisionInferer
from hybrid_attention.explain import SaveGradCAM, SaveGradCAMOverlays, grad_cam, heat_overlay
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from PIL import Image

NAMES = ("benign/a (1).png", "benign/b.png", "c.png")


@pytest.fixture
def cases(trained, tmp_path):
    """Two scenes and a black image, at twice the size that the network sees, and in shape 64 x 96."""
    images = [*trained.images[:2], torch.zeros(1, 32, 32)]
    cases = []
    for name, image in zip(NAMES, images, strict=True):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = torch.nn.functional.interpolate(image[None], size=(96, 64))[0, 0].clamp(-1, 1) * 127 + 128
        Image.fromarray(grey.numpy().T.astype(np.uint8)).save(path)
        cases.append({"case_id": name, "image": image, "source": str(path)})
    return cases


def run(net, cases, handler, inferer=None):
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases), batch_size=2),
        network=net,
        inferer=inferer,
        val_handlers=[handler],
    ).run()


def test_heat_of_an_evaluation_lies_where_reports_look(trained, cases, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    stale = tmp_path / "out" / "gradcam" / "c.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier run")
    run(trained.net, cases, SaveGradCAM(tmp_path / "out", trained.net), PrecisionInferer("bf16", channels_last=True))
    for case in cases[:2]:
        with Image.open(tmp_path / "out" / "gradcam" / case["case_id"]) as file:
            picture = np.asarray(file)
        heat = grad_cam(trained.net, case["image"][None])[0, 0].numpy()
        np.testing.assert_array_equal(picture, (heat.T * 255).round())
    assert not stale.exists()
    assert json.loads((tmp_path / "out" / "gradcam" / "left_out.json").read_text()) == ["c.png"]
    assert f"2 Grad-CAM maps of layer {trained.net.gradcam_layer}" in caplog.text
    assert "Grad-CAM of 1 images is left out, since nothing is marked; the first: c.png" in caplog.text


def test_overlays_of_an_inference_have_the_size_of_the_image(trained, cases, tmp_path):
    run(trained.net, cases, SaveGradCAMOverlays(tmp_path / "out", trained.net, layer="first"))
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")) == [
        "benign/a (1)_gradcam.png",
        "benign/b_gradcam.png",
    ]
    assert not (tmp_path / "out" / "gradcam").exists()
    with Image.open(tmp_path / "out" / "benign" / "b_gradcam.png") as file, Image.open(cases[1]["source"]) as image:
        picture, grey = np.asarray(file), np.asarray(image).T
    assert grey.shape == (96, 64)
    heat = grad_cam(trained.net, cases[1]["image"][None], "first")
    heat = torch.nn.functional.interpolate(heat, size=(96, 64), mode="bilinear")[0, 0]
    np.testing.assert_array_equal(picture, heat_overlay(grey, heat))
    np.testing.assert_array_equal(picture[:, :96], heat_overlay(grey, heat, colour_bar=False))


def test_classes_are_explained_in_every_image(channels, cases, tmp_path):
    cases = [{**case, "image": torch.rand(2, 8, 8)} for case in cases]
    run(channels, cases, SaveGradCAM(tmp_path, channels, "features", output="classes"))
    assert all((tmp_path / "gradcam" / name).is_file() for name in NAMES)
    assert json.loads((tmp_path / "gradcam" / "left_out.json").read_text()) == []


def test_a_wrong_layer_is_told_before_the_run(trained, tmp_path):
    with pytest.raises(ValueError, match=r"no layer 'deeper'; it has: deep, "):
        SaveGradCAM(tmp_path, trained.net, layer="deeper")
