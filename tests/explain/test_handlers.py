import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from hybrid_attention import explain
from hybrid_attention.data.images import read_grey
from hybrid_attention.engines import PrecisionInferer
from hybrid_attention.explain import attention_maps, attention_numbers, draw_attention, grad_cam, heat_overlay
from hybrid_attention.networks.blocks.tam import GSA, TSA
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Activationsd, AsDiscreted, Compose, CopyItemsd, Resized
from PIL import Image

NAMES = ("benign/a (1).png", "benign/b.png", "c.png")
SIZE = (64, 96)  # of the image files, (H, W)


@pytest.fixture
def cases(images, tmp_path):
    """Two images with a disc and a black one; the files are larger than what the network sees."""
    cases = []
    for name, image in zip(NAMES, [*images, 0 * images[0]], strict=True):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = 255 * resized(image, "nearest")
        grey[0, 0] = 127  # images of a single grey value are rejected
        Image.fromarray(grey.numpy().astype(np.uint8)).save(path)
        cases.append({"case_id": name, "image": image, "source": str(path)})
    return cases


def resized(plane, mode="bilinear"):
    return torch.nn.functional.interpolate(plane[None], size=SIZE, mode=mode)[0, 0]


def run(net, cases, handler, **options):
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases), batch_size=2),
        network=net,
        val_handlers=[handler],
        **options,
    ).run()


def files(folder, suffix=""):
    return {path.relative_to(folder).as_posix().replace(suffix, "") for path in folder.rglob("*") if path.is_file()}


def assert_shows(path, expected):
    np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)


def test_heat_of_an_evaluation(bright, channels, cases, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    out = tmp_path / "out" / "gradcam"
    out.mkdir(parents=True)
    (out / "c.png").write_bytes(b"of an earlier run")
    handler = explain.SaveGradCAM(tmp_path / "out", bright)
    run(bright, cases, handler, inferer=PrecisionInferer("bf16", channels_last=True))
    for case in cases[:2]:
        heat = grad_cam(bright, case["image"][None])[0, 0].numpy()
        assert_shows(out / case["case_id"], (heat * 255).round())
    assert files(out) == {*NAMES[:2], "left_out.json"}
    assert json.loads((out / "left_out.json").read_text()) == ["c.png"]
    assert "2 Grad-CAM maps of layer deep" in caplog.text
    assert "1 images with an empty mask; first: c.png" in caplog.text
    cases = [{**case, "image": torch.rand(2, 8, 8)} for case in cases]  # classes are explained in every image
    run(channels, cases, explain.SaveGradCAM(tmp_path / "out", channels, "features", output="classes"))
    assert files(out) == {*NAMES, "left_out.json"} and json.loads((out / "left_out.json").read_text()) == []


def test_pictures_of_an_inference_have_the_size_of_the_image(bright, cases, tmp_path):
    run(bright, cases, explain.SaveGradCAMOverlays(tmp_path / "out", bright, layer="first"))
    assert files(tmp_path / "out", "_gradcam") == set(NAMES[:2])
    heat = resized(grad_cam(bright, cases[1]["image"][None], "first")[0])
    assert_shows(tmp_path / "out" / "benign" / "b_gradcam.png", heat_overlay(read_grey(cases[1]["source"]), heat))
    post = [Activationsd("pred", sigmoid=True), Resized("pred", spatial_size=SIZE)]
    post += [CopyItemsd("pred", names="probability"), AsDiscreted("pred", threshold=0.55)]
    run(bright, cases, explain.SavePanels(tmp_path / "panels", bright), postprocessing=Compose(post))
    assert files(tmp_path / "panels", "_panels") == set(NAMES)
    for case in cases:
        with torch.no_grad():
            chance = resized(bright(case["image"][None])[0].sigmoid(), "area")
        heat = None if case["case_id"] == "c.png" else resized(grad_cam(bright, case["image"][None])[0])
        expected = explain.draw_panels(read_grey(case["source"]), chance, chance >= 0.55, heat)
        assert_shows(tmp_path / "panels" / case["case_id"].replace(".png", "_panels.png"), expected)


def test_attention(cases, tmp_path):
    torch.manual_seed(0)
    attentive = torch.nn.Sequential(TSA(2, 4), GSA(2, 4), torch.nn.Conv2d(4, 1, 1)).eval()  # channels, then positions
    lesion = torch.zeros(1, 16, 24)
    lesion[:, 4:8] = 1
    cases = [{**case, "image": torch.rand(4, 16, 24), "label": lesion} for case in cases]
    run(attentive, cases, explain.SaveAttention(tmp_path / "out", attentive))
    assert files(tmp_path / "out", "_attention") == set(NAMES)
    found = [{name: one[0] for name, one in attention_maps(attentive, case["image"][None]).items()} for case in cases]
    maps = {**found[1], "1": resized(found[1]["1"])}
    assert_shows(tmp_path / "out" / "benign" / "b_attention.png", draw_attention(read_grey(cases[1]["source"]), maps))

    handler = explain.SaveAttentionNumbers(tmp_path, attentive)
    for _ in range(2):  # the second run replaces the first
        run(attentive, cases, handler)
    table = pd.read_csv(tmp_path / "attention.csv")
    assert list(table["case_id"]) == [name for name in NAMES for _ in range(2)] and list(table["map"]) == [0, 1] * 3
    assert table["lift"].isna().tolist() == [True, False] * 3
    first, second, third = (maps["1"] for maps in found)
    others = (first / first.sum() + second / second.sum()) / 2
    control = {f"{key}_of_others": attention_numbers(others, lesion)[key] for key in ("coverage", "lift")}
    assert dict(table.iloc[5, 2:]) == pytest.approx(attention_numbers(third, lesion) | control, abs=1e-4)


def test_a_network_that_does_not_fit_is_an_error_before_the_run(bright, tmp_path):
    with pytest.raises(ValueError, match=r"no layer 'deeper'; it has: deep, "):
        explain.SavePanels(tmp_path, bright, layer="deeper")
    for handler in (explain.SaveAttention, explain.SaveAttentionNumbers):
        with pytest.raises(ValueError, match="Bright has no attention; networks with attention: HybridAttentionNet"):
            handler(tmp_path, bright)
