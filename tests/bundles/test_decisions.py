"""Flips, temperature, threshold and uncertainty in the inference and evaluation of every bundle.

The network is replaced by one that always says the same: lesion in the first half of the columns (log-odds 2), none in
the second (log-odds -1), whatever the image. Its mirror image says the opposite, and their mean one number everywhere.
"""

import csv
import json
import math

import nibabel
import numpy as np
import pytest
import torch
from hybrid_attention.networks.multi_task_output import MultiTaskOutput
from monai.bundle import ConfigParser
from PIL import Image

from tests.bundles.commands import BUNDLES, config

MEAN = (1 / (1 + math.exp(-2)) + 1 / (1 + math.exp(1))) / 2  # 0.575
SHARPER = MEAN**2 / (MEAN**2 + (1 - MEAN) ** 2)  # 0.647: the odds of the mean, squared
MIRROR = [[], [1]]
# settings, and which share of the pixels is marked
DECISIONS = [
    ({}, 0.5),
    ({"flips": [[1]]}, 0.5),
    ({"flips": MIRROR}, 1.0),
    ({"flips": MIRROR, "threshold": 0.6}, 0.0),
    ({"flips": MIRROR, "threshold": 0.6, "temperature": 0.5}, 1.0),
    ({"temperature": 9.0, "threshold": 0.56}, 0.0),
]


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


def parsed(name, files, settings):
    parser = ConfigParser()
    parser.read_config([config(name, file) for file in files])
    several = name in ("mtl_oca", "hybrid_lite")
    form = ("named" if "train" in files else "planes") if several else "logit"
    given = {"device": "cpu", "precision": "fp32", "image_size": 32, "gradcam": False}
    parser.update({"network": Halves(3 if several else 0, form), **given})
    parser.update(settings)
    return parser


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
    parsed(name, ["inference"], {**places, **settings}).get_parsed_content("evaluator").run()
    return {row["case_id"]: row for row in json.loads((out / "predictions.json").read_text())}


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize(("settings", "share"), DECISIONS)
def test_inference(name, images, tmp_path, settings, share):
    rows = predicted(name, images, tmp_path, **settings)
    for row in rows.values():
        assert row["lesion_area_fraction"] == pytest.approx(share, abs=0.02)
    columns = np.asarray(Image.open(tmp_path / "plain_mask.png")).mean(axis=0) > 0
    if share == 0.5:
        assert columns[:30].all() == (settings == {}) and columns[34:].all() == (settings != {})
    assert not list(tmp_path.glob("*_uncertainty*"))


@pytest.mark.parametrize("name", BUNDLES)
def test_expected_dice_by_hand(name, images, tmp_path):
    row = predicted(name, images, tmp_path / "all", flips=MIRROR)["plain.png"]
    assert row["expected_dice"] == pytest.approx(2 * MEAN / (1 + MEAN), abs=1e-5)
    row = predicted(name, images, tmp_path / "sharper", flips=MIRROR, temperature=0.5)["plain.png"]
    assert row["expected_dice"] == pytest.approx(2 * SHARPER / (1 + SHARPER), abs=1e-5)
    row = predicted(name, images, tmp_path / "none", flips=MIRROR, threshold=0.6)["plain.png"]
    assert row["expected_dice"] == 0
    with open(tmp_path / "none" / "predictions.csv", newline="") as file:
        assert [float(row["expected_dice"]) for row in csv.DictReader(file)] == [0, 0]


@pytest.mark.parametrize("name", BUNDLES)
def test_uncertainty_is_the_entropy_of_what_is_marked_by(name, images, tmp_path):
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


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize(("settings", "share"), DECISIONS)
def test_evaluation(name, phantoms, tmp_path, settings, share):
    places = {"dataset_dir": str(phantoms), "evaluation_dir": str(tmp_path), "ckpt_path": str(tmp_path / "model.pt")}
    parser = parsed(name, ["train", "evaluate"], {**places, **settings})
    parser.get_parsed_content("validate#evaluator").run()
    with open(tmp_path / "per_case.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(int(row["tp"]) + int(row["fp"]) == share * 32 * 32 for row in rows)
    recorded = json.loads((tmp_path / "summary.json").read_text())["decision"]
    assert recorded.items() >= {"flips": [[]], "temperature": 1.0, "threshold": 0.5, **settings}.items()


@pytest.mark.parametrize("name", BUNDLES)
def test_defaults_leave_the_network_s_own_numbers(name, images):
    """The very logits, and the very probabilities."""
    parser = parsed(name, ["inference"], {"dataset_dir": str(images), "output_dir": str(images / "out")})
    x = torch.rand(1, 3, 32, 32)
    network = torch.nn.Conv2d(3, 1, 3, padding=1)
    assert torch.equal(parser.get_parsed_content("inferer")(x, network), network(x))
    data = {"pred": network(x)[0].sigmoid()}
    step = next(
        one
        for one in parser.get_parsed_content("postprocessing").transforms
        if type(one).__name__ == "TemperatureScalingd"
    )
    assert step(data)["pred"] is data["pred"]


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature must be a finite number above 0"),
        ({"flips": []}, "flips must be a list of passes"),
    ],
)
def test_bad_decisions(name, images, tmp_path, settings, message):
    with pytest.raises(Exception) as error:
        predicted(name, images, tmp_path, **settings)
    cause = error.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert message in str(cause)
