"""The handlers in MONAI's own evaluator."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from hybrid_attention.data.images import read_grey
from hybrid_attention.engines import PrecisionInferer
from hybrid_attention.explain import (
    SaveAttention,
    SaveAttentionNumbers,
    SaveGradCAM,
    SaveGradCAMOverlays,
    SavePanels,
    attention_maps,
    attention_numbers,
    draw_attention,
    draw_panels,
    grad_cam,
    heat_overlay,
)
from hybrid_attention.networks.blocks.tam import GSA, TSA
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Activationsd, AsDiscreted, Compose, CopyItemsd, Resized
from PIL import Image

NAMES = ("benign/a (1).png", "benign/b.png", "c.png")
SIZE = (64, 96)  # of the image files, (H, W)
POST = Compose(
    [
        Activationsd("pred", sigmoid=True),
        Resized("pred", spatial_size=SIZE),
        CopyItemsd("pred", names="probability"),
        AsDiscreted("pred", threshold=0.9),
    ]
)


@pytest.fixture
def cases(trained, tmp_path):
    """Two scenes and a black image; the files are larger than what the network sees."""
    images = [*trained.images[:2], torch.zeros(1, 32, 32)]
    cases = []
    for name, image in zip(NAMES, images, strict=True):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = torch.nn.functional.interpolate(image[None], size=SIZE)[0, 0].clamp(-1, 1) * 127 + 128
        grey[0, 0] = 127  # images of a single grey value are rejected
        Image.fromarray(grey.numpy().astype(np.uint8)).save(path)
        cases.append({"case_id": name, "image": image, "source": str(path)})
    return cases


def run(net, cases, handler, **options):
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases), batch_size=2),
        network=net,
        val_handlers=[handler],
        **options,
    ).run()


def stretched_heat(net, case, layer=None):
    heat = grad_cam(net, case["image"][None], layer)
    return torch.nn.functional.interpolate(heat, size=SIZE, mode="bilinear")[0, 0]


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_heat_of_an_evaluation(trained, cases, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    stale = tmp_path / "out" / "gradcam" / "c.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier run")
    handler = SaveGradCAM(tmp_path / "out", trained.net)
    run(trained.net, cases, handler, inferer=PrecisionInferer("bf16", channels_last=True))
    for case in cases[:2]:
        picture = np.asarray(Image.open(tmp_path / "out" / "gradcam" / case["case_id"]))
        heat = grad_cam(trained.net, case["image"][None])[0, 0].numpy()
        np.testing.assert_array_equal(picture, (heat * 255).round())
    assert files(tmp_path / "out" / "gradcam") == {*NAMES[:2], "left_out.json"}
    assert json.loads((tmp_path / "out" / "gradcam" / "left_out.json").read_text()) == ["c.png"]
    assert f"2 Grad-CAM maps of layer {trained.net.gradcam_layer}" in caplog.text
    assert "1 images with an empty mask; first: c.png" in caplog.text


def test_overlays_of_an_inference_have_the_size_of_the_image(trained, cases, tmp_path):
    run(trained.net, cases, SaveGradCAMOverlays(tmp_path / "out", trained.net, layer="first"))
    assert files(tmp_path / "out") == {"benign/a (1)_gradcam.png", "benign/b_gradcam.png"}
    picture = np.asarray(Image.open(tmp_path / "out" / "benign" / "b_gradcam.png"))
    expected = heat_overlay(read_grey(cases[1]["source"]), stretched_heat(trained.net, cases[1], "first"))
    np.testing.assert_array_equal(picture, expected)


def test_panels_of_an_inference(trained, cases, tmp_path):
    run(trained.net, cases, SavePanels(tmp_path / "out", trained.net), postprocessing=POST)
    assert files(tmp_path / "out") == {name.replace(".png", "_panels.png") for name in NAMES}
    with torch.no_grad():
        logits = trained.net(torch.stack([case["image"] for case in cases]))
    for case, logit in zip(cases, logits, strict=True):
        chance = torch.nn.functional.interpolate(logit.sigmoid()[None], size=SIZE, mode="area")[0, 0]
        heat = None if case["case_id"] == "c.png" else stretched_heat(trained.net, case)
        expected = draw_panels(read_grey(case["source"]), chance, chance >= 0.9, heat)
        path = tmp_path / "out" / case["case_id"].replace(".png", "_panels.png")
        np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)


def test_classes_are_explained_in_every_image(channels, cases, tmp_path):
    cases = [{**case, "image": torch.rand(2, 8, 8)} for case in cases]
    run(channels, cases, SaveGradCAM(tmp_path, channels, "features", output="classes"))
    assert files(tmp_path / "gradcam") == {*NAMES, "left_out.json"}
    assert json.loads((tmp_path / "gradcam" / "left_out.json").read_text()) == []


@pytest.mark.parametrize("handler", [SaveGradCAM, SavePanels])
def test_a_wrong_layer_is_an_error_before_the_run(handler, trained, tmp_path):
    with pytest.raises(ValueError, match=r"no layer 'deeper'; it has: deep, "):
        handler(tmp_path, trained.net, layer="deeper")


@pytest.fixture
def attentive():
    """Channel attention, then spatial attention, as a mask."""
    torch.manual_seed(0)
    return torch.nn.Sequential(TSA(2, 4), GSA(2, 4), torch.nn.Conv2d(4, 1, 1)).eval()


def test_attention_of_an_inference(attentive, cases, tmp_path):
    cases = [{**case, "image": torch.rand(4, 16, 24)} for case in cases]
    run(attentive, cases, SaveAttention(tmp_path / "out", attentive))
    assert files(tmp_path / "out") == {name.replace(".png", "_attention.png") for name in NAMES}
    maps = {name: one[0] for name, one in attention_maps(attentive, cases[1]["image"][None]).items()}
    maps["1"] = torch.nn.functional.interpolate(maps["1"][None], size=SIZE, mode="bilinear")[0, 0]
    picture = np.asarray(Image.open(tmp_path / "out" / "benign" / "b_attention.png"))
    np.testing.assert_array_equal(picture, draw_attention(read_grey(cases[1]["source"]), maps))


def test_attention_of_an_evaluation(attentive, cases, tmp_path):
    lesion = torch.zeros(1, 16, 24)
    lesion[:, 4:8] = 1
    cases = [{**case, "image": torch.rand(4, 16, 24), "label": lesion} for case in cases]
    handler = SaveAttentionNumbers(tmp_path, attentive)
    for _ in range(2):  # the second run replaces the first
        run(attentive, cases, handler)
    table = pd.read_csv(tmp_path / "attention.csv")
    assert list(table["case_id"]) == [name for name in NAMES for _ in range(2)] and list(table["map"]) == [0, 1] * 3
    assert table["lift"].isna().tolist() == [True, False] * 3
    maps = [attention_maps(attentive, case["image"][None])["1"][0] for case in cases]
    others = (maps[0] / maps[0].sum() + maps[1] / maps[1].sum()) / 2
    control = {f"{key}_of_others": attention_numbers(others, lesion)[key] for key in ("coverage", "lift")}
    assert dict(table.iloc[5, 2:]) == pytest.approx(attention_numbers(maps[2], lesion) | control, abs=1e-4)


@pytest.mark.parametrize("handler", [SaveAttention, SaveAttentionNumbers])
def test_a_network_without_attention_is_an_error_before_the_run(handler, trained, tmp_path):
    with pytest.raises(ValueError, match="Detector has no attention; networks with attention: HybridAttentionNet"):
        handler(tmp_path, trained.net)
