"""How every bundle turns probabilities into masks: flips, temperature, threshold, clean-up, and uncertainty.

The network is replaced by one that always says the same: lesion in the first half of the columns (log-odds 2), none in
the second (log-odds -1), whatever the image. Its mirror image says the opposite, and their mean one number everywhere.
"""

import json
import math

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from hybrid_attention.networks import MultiTaskOutput
from monai.bundle import ConfigParser
from PIL import Image

from tests.bundles.commands import BUNDLES, config, parsed
from tests.evaluation.drawing import drawn

MEAN = (1 / (1 + math.exp(-2)) + 1 / (1 + math.exp(1))) / 2  # 0.575
SHARPER = MEAN**2 / (MEAN**2 + (1 - MEAN) ** 2)  # 0.647: the odds of the mean, squared
MIRROR = [[], [1]]
DECISIONS = [  # settings, the share of the pixels that is predicted, and the expected Dice by hand
    ({}, 0.5, None),
    ({"flips": [[1]]}, 0.5, None),
    ({"flips": MIRROR}, 1.0, 2 * MEAN / (1 + MEAN)),
    ({"flips": MIRROR, "threshold": 0.6}, 0.0, 0),
    ({"flips": MIRROR, "threshold": 0.6, "temperature": 0.5}, 1.0, 2 * SHARPER / (1 + SHARPER)),
    ({"temperature": 9.0, "threshold": 0.56}, 0.0, 0),
]
CLASSIFY = ("mtl_oca", "hybrid_lite")
every_bundle = pytest.mark.parametrize("name", BUNDLES)


class Halves(torch.nn.Module):
    """Logits by place alone; the first class is the likelier, the brighter the corner of the image is."""

    def __init__(self, classes: int, form: str) -> None:
        super().__init__()
        self.classes, self.form = classes, form

    def forward(self, x):
        lesion = torch.full_like(x[:, :1], -1.0)
        lesion[..., : x.shape[3] // 2] = 2.0
        classes = torch.zeros(len(x), self.classes, device=x.device)
        classes[:, :1] = 4 * x[:, :1, 0, 0]
        if self.form == "named":
            return MultiTaskOutput(torch.cat([torch.zeros_like(lesion), lesion], 1), None, classes)
        planes = classes[..., None, None].expand(-1, -1, *lesion.shape[2:])
        return torch.cat([lesion, planes], 1)


def with_halves(name, *files, **settings):
    form = ("named" if "train" in files else "planes") if name in CLASSIFY else "logit"
    given = {"device": "cpu", "precision": "fp32", "image_size": 32, "gradcam": False}
    return parsed(name, *files, network=Halves(3 if name in CLASSIFY else 0, form), **given, **settings)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A picture and a slice that grow brighter from left to right."""
    folder = tmp_path_factory.mktemp("images")
    grey = np.repeat(np.arange(64, dtype=np.uint8)[:, None], 48, axis=1)
    Image.fromarray(grey.T).save(folder / "plain.png")
    nibabel.save(nibabel.Nifti1Image(grey[..., None].astype(np.float32), np.eye(4)), folder / "slice.nii.gz")
    return folder


def predicted(name, images, out, **settings):
    places = {"dataset_dir": str(images), "output_dir": str(out), "panels": False, "min_lesion_pixels": 0}
    with_halves(name, "inference", **places, **settings).get_parsed_content("evaluator").run()
    return {row["case_id"]: row for row in json.loads((out / "predictions.json").read_text())}


@every_bundle
@pytest.mark.parametrize(("settings", "share", "dice"), DECISIONS)
def test_inference(name, images, tmp_path, settings, share, dice):
    rows = predicted(name, images, tmp_path, **settings)
    assert [row["lesion_area_fraction"] for row in rows.values()] == pytest.approx([share] * 2, abs=0.02)
    columns = np.asarray(Image.open(tmp_path / "plain_mask.png")).mean(axis=0) > 0
    if dice is None:
        assert columns[:30].all() == (settings == {}) and columns[34:].all() == (settings != {})
    else:
        assert [row["expected_dice"] for row in rows.values()] == pytest.approx([dice] * 2, abs=1e-5)
    assert not list(tmp_path.glob("*_uncertainty*"))


@every_bundle
@pytest.mark.parametrize(("settings", "share"), [(settings, share) for settings, share, _ in DECISIONS])
def test_evaluation(name, phantoms, tmp_path, settings, share):
    places = {"dataset_dir": str(phantoms), "evaluation_dir": str(tmp_path), "ckpt_path": str(tmp_path / "model.pt")}
    with_halves(name, "train", "evaluate", **places, **settings).get_parsed_content("validate#evaluator").run()
    rows = pd.read_csv(tmp_path / "per_case.csv")
    assert len(rows) and (rows["tp"] + rows["fp"] == share * 32 * 32).all()
    recorded = json.loads((tmp_path / "summary.json").read_text())["decision"]
    assert recorded.items() >= {"flips": [[]], "temperature": 1.0, "threshold": 0.5, **settings}.items()


@every_bundle
def test_uncertainty_is_the_entropy_of_the_probability(name, images, tmp_path):
    predicted(name, images, tmp_path, flips=MIRROR, temperature=0.5, uncertainty=True)
    bits = -(SHARPER * math.log2(SHARPER) + (1 - SHARPER) * math.log2(1 - SHARPER))
    with Image.open(tmp_path / "plain_uncertainty.png") as picture:
        assert picture.size == (64, 48) and picture.getextrema() == (round(255 * bits),) * 2
    volume = nibabel.load(tmp_path / "slice_uncertainty.nii.gz")
    assert volume.get_data_dtype() == np.float32 and volume.shape == (64, 48, 1)
    np.testing.assert_allclose(volume.get_fdata(), bits, atol=1e-5)


def test_classes_follow_the_flips_but_not_the_temperature(images, tmp_path):
    """Dark corner: all classes alike. Bright corner, in the mirror image: e^4 to 1 to 1."""
    row = predicted("mtl_oca", images, tmp_path, flips=MIRROR, temperature=3.0)["plain.png"]
    bright = math.exp(4) / (math.exp(4) + 2)
    assert row["probability_benign"] == pytest.approx((1 / 3 + bright) / 2, abs=0.02)
    assert row["predicted_class"] == "benign"


# ---- clean-up of the mask, on logits drawn by hand

PREDICTED = """
............
..####......
..#..#....#.
..#..#......
..####......
........##..
........#.#.
........##..
.###........
.#.#........
.###........
............
"""
CLEAN = PREDICTED.replace("#..#", "####").replace("#.#.", "###.").replace("....#.\n", "......\n", 1)
CLEANED = [({}, PREDICTED), ({"fill_holes": True, "min_lesion_pixels": 2}, CLEAN)]


def processed(name, mask, size, folder, **settings):
    """What a bundle's own post-processing makes of logits, for an image file of `size` pixels a side."""
    # the settings by which each network gives one logit per pixel
    alone = {"mtl_oca": {"class_names": None, "edge_channel": False}, "hybrid_lite": {"class_names": None}}
    given = {"image_size": mask.shape[-1], "output_dir": str(folder), **alone.get(name, {}), **settings}
    parser = parsed(name, "inference", **given)
    Image.fromarray(np.arange(size * size, dtype=np.uint8).reshape(size, size)).save(folder / "image.png")
    case = parser.get_parsed_content("preprocessing")({"image": str(folder / "image.png")})
    case["pred"] = torch.where(mask > 0, 20.0, -20.0)
    return parser.get_parsed_content("postprocessing")(case)["pred"]


@every_bundle
@pytest.mark.parametrize(("settings", "expected"), CLEANED)
def test_clean_up_is_a_setting(name, tmp_path, settings, expected):
    given = {"fill_holes": False, "min_lesion_pixels": 0, **settings}
    mask = processed(name, drawn(PREDICTED), 12, tmp_path, **given)
    assert mask.dtype == torch.uint8
    assert torch.equal(mask, drawn(expected)[0].byte())


def test_defaults_clean_in_the_attention_unet_only():
    settings = {name: ConfigParser.load_config_file(config(name, "inference")) for name in BUNDLES}
    cleaned = {name: (each["fill_holes"], each["min_lesion_pixels"]) for name, each in settings.items()}
    assert cleaned == dict.fromkeys(BUNDLES, (False, 0)) | {"attention_unet": (True, 200)}
    assert {each["threshold"] for each in settings.values()} == {0.5}


def test_sizes_are_pixels_of_the_image_file(tmp_path):
    """A square of 3 x 3 that the network sees is about 12 x 12 in a file four times as wide; its corners are cut."""
    square = torch.zeros(1, 12, 12)
    square[0, 3:6, 3:6] = 1
    area = int(processed("attention_unet", square, 48, tmp_path, min_lesion_pixels=0).sum())
    assert 9 * 16 - 8 <= area <= 9 * 16
    for least, expected in ((area, area), (area + 1, 0)):
        mask = processed("attention_unet", square, 48, tmp_path, min_lesion_pixels=least)
        assert int(mask.sum()) == expected
