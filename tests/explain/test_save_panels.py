"""The handler in MONAI's own evaluator."""

import logging

import numpy as np
import pytest
import torch
from hybrid_attention.data.reading import read_grey
from hybrid_attention.explain import SavePanels, draw_panels, grad_cam
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Activationsd, AsDiscreted, Compose, CopyItemsd, Resized
from PIL import Image

SIZE = (64, 96)  # of the image files, (W, H)


@pytest.fixture
def cases(trained, tmp_path):
    """A scene and a black image; the files are larger than what the network sees."""
    cases = []
    for name, image in {"malignant/a (1).png": trained.images[0], "c.png": torch.zeros(1, 32, 32)}.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = torch.nn.functional.interpolate(image[None], size=SIZE)[0, 0].clamp(-1, 1) * 127 + 128
        grey[0, 0] = 127  # an image of one grey value is refused
        Image.fromarray(grey.numpy().T.astype(np.uint8)).save(path)
        cases.append({"case_id": name, "image": image, "source": str(path)})
    return cases


def run(net, cases, handler):
    keys = {"keys": "pred"}
    post = [Activationsd(**keys, sigmoid=True), Resized(**keys, spatial_size=SIZE), CopyItemsd(**keys, names="chance")]
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases), batch_size=2),
        network=net,
        postprocessing=Compose([*post, AsDiscreted(**keys, threshold=0.9)]),
        val_handlers=[handler],
    ).run()


def test_one_picture_for_each_image(trained, cases, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run(trained.net, cases, SavePanels(tmp_path / "out", trained.net, probability_key="chance"))
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"malignant/a (1)_panels.png", "c_panels.png"}
    with torch.no_grad():
        logits = trained.net(torch.stack([case["image"] for case in cases]))
    for case, logit in zip(cases, logits, strict=True):
        chance = torch.nn.functional.interpolate(logit.sigmoid()[None], size=SIZE, mode="area")[0, 0]
        heat = None
        if "malignant" in case["case_id"]:
            heat = grad_cam(trained.net, case["image"][None])
            heat = torch.nn.functional.interpolate(heat, size=SIZE, mode="bilinear")[0, 0]
        expected = draw_panels(read_grey(case["source"]), chance, chance >= 0.9, heat)
        with Image.open(tmp_path / "out" / case["case_id"].replace(".png", "_panels.png")) as file:
            np.testing.assert_array_equal(np.asarray(file), expected)
    assert f"2 pictures of four panels in {tmp_path / 'out'}; Grad-CAM of layer deep" in caplog.text


def test_a_wrong_layer_is_told_before_the_run(trained, tmp_path):
    with pytest.raises(ValueError, match=r"no layer 'deeper'; it has: deep, "):
        SavePanels(tmp_path, trained.net, layer="deeper")
