"""The Attention U-Net's bundle, run as a user runs it, and the clean-up of masks and the panels of all bundles."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from hybrid_attention.networks import DeepAttentionUNet
from monai.bundle import ConfigParser
from PIL import Image

from tests.bundles.commands import ROOT, bundle, config
from tests.evaluation.drawing import drawn

TRAIN, EVALUATE, INFERENCE = (config("attention_unet", name) for name in ("train", "evaluate", "inference"))
SCRATCH = config("hybrid", "from_scratch")
SLIM = ["--network_def#channels", "[8,16,32,64]", "--network_def#bottleneck_channels", "64"]
SLIM += ["--network_def#decoder_channels", "[32,16,8,8]"]
QUICK = ["--image_size", "64", "--learning_rate", "0.01", *SLIM]
# the settings by which a bundle's network gives one logit a pixel
ONE_LOGIT = {
    "hybrid": {},
    "explainable": {},
    "attention_unet": {},
    "mtl_oca": {"class_names": None, "edge_channel": False},
    "hybrid_lite": {"class_names": None},
}

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
FILLED = PREDICTED.replace("#..#", "####").replace("#.#.", "###.")
WITHOUT_SPECK = FILLED.replace("....#.\n", "......\n", 1)
LARGEST = """
............
..####......
..####......
..####......
..####......
............
............
............
............
............
............
............
"""


def parsed(path, **settings):
    parser = ConfigParser()
    parser.read_config(path)
    parser.update(settings)
    return parser


def processed(name, mask, size, **settings):
    """What a bundle's own post-processing makes of logits, for an image file of `size` pixels a side."""
    parser = parsed(config(name, "inference"), image_size=mask.shape[-1], **settings)
    seen = parser.get_parsed_content("preprocessing")
    folder = settings["output_dir"]
    Image.fromarray(np.arange(size * size, dtype=np.uint8).reshape(size, size)).save(f"{folder}/image.png")
    case = seen({"image": f"{folder}/image.png"})
    case["pred"] = torch.where(mask > 0, 20.0, -20.0)
    return parser.get_parsed_content("postprocessing")(case)["pred"]


@pytest.mark.parametrize("name", ONE_LOGIT)
def test_clean_up_is_a_setting_of_every_bundle(name, tmp_path):
    given = {"output_dir": str(tmp_path), "fill_holes": False, "min_lesion_pixels": 0}
    steps = [{}, {"fill_holes": True}, {"fill_holes": True, "min_lesion_pixels": 2}, {"min_lesion_pixels": 15}]
    steps[-1]["fill_holes"] = True
    for settings, drawing in zip(steps, (PREDICTED, FILLED, WITHOUT_SPECK, LARGEST), strict=True):
        mask = processed(name, drawn(PREDICTED), 12, **given | settings | ONE_LOGIT[name])
        assert mask.dtype == torch.uint8
        assert torch.equal(mask, drawn(drawing)[0].byte()), (settings, mask)


def test_defaults_clean_in_this_bundle_only(tmp_path):
    settings = {name: ConfigParser.load_config_file(config(name, "inference")) for name in ONE_LOGIT}
    cleaned = {name: (each["fill_holes"], each["min_lesion_pixels"]) for name, each in settings.items()}
    assert cleaned == dict.fromkeys(ONE_LOGIT, (False, 0)) | {"attention_unet": (True, 200)}
    assert {each["threshold"] for each in settings.values()} == {0.5}
    for name in ("hybrid", "explainable"):
        mask = processed(name, drawn(PREDICTED), 12, output_dir=str(tmp_path))
        assert torch.equal(mask, drawn(PREDICTED)[0].byte())


def test_sizes_are_pixels_of_the_image_file(tmp_path):
    """A square of 3 x 3 that the network sees is about 12 x 12 in a file four times as wide; its corners are cut."""
    square = torch.zeros(1, 12, 12)
    square[0, 3:6, 3:6] = 1
    mask = processed("attention_unet", square, 48, output_dir=str(tmp_path), min_lesion_pixels=0)
    area = int(mask.sum())
    assert 9 * 16 - 8 <= area <= 9 * 16
    kept = processed("attention_unet", square, 48, output_dir=str(tmp_path), min_lesion_pixels=area)
    assert int(kept.sum()) == area
    gone = processed("attention_unet", square, 48, output_dir=str(tmp_path), min_lesion_pixels=area + 1)
    assert int(gone.sum()) == 0


def test_threshold_moves_the_outline(tmp_path):
    half = torch.zeros(1, 12, 12)
    half[0, :6] = 1
    rows = []
    for threshold in (0.2, 0.5, 0.8):
        mask = processed("attention_unet", half, 48, output_dir=str(tmp_path), threshold=threshold)
        rows.append(int(mask[:, 0].sum()))
    assert rows == [25, 24, 23]  # between two pixels the probability falls over 1/8, 3/8, 5/8, 7/8


@pytest.mark.parametrize("name", ONE_LOGIT)
def test_panels_are_a_setting_of_every_bundle(name, phantoms, tmp_path):
    image = phantoms / "benign" / "benign (1).png"
    settings = {"dataset_dir": str(image), "output_dir": str(tmp_path), "image_size": 64, "device": "cpu"}
    parser = parsed(config(name, "inference"), panels=True, gradcam=False, **settings)
    parser.get_parsed_content("evaluator").run()
    with Image.open(image) as grey, Image.open(tmp_path / "benign (1)_panels.png") as picture:
        assert picture.height > grey.height and picture.width > 4 * grey.width
    assert not list(tmp_path.glob("*_gradcam.png"))


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    """A slim network after ten epochs on phantoms, with the hybrid bundle's overlay for a random start."""
    out = tmp_path_factory.mktemp("trained")
    options = ["--dataset_dir", phantoms, "--output_dir", out, "--epochs", 10, *QUICK]
    bundle("training", [TRAIN, SCRATCH], *options)
    return out


def test_training_learns(trained):
    with open(trained / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train_loss"]) for row in rows]
    assert losses[-1] < 0.8 * losses[0]
    record = json.loads((trained / "models" / "training.json").read_text())
    assert record["metric"]["val_mean_dice"] == max(float(row["val_mean_dice"]) for row in rows)
    assert record["recipe"]["loss"]["_target_"] == "torch.nn.BCEWithLogitsLoss"


def test_evaluation_prints_accuracy_beside_dice_and_jaccard(trained, phantoms):
    bundle("evaluating", [TRAIN, SCRATCH, EVALUATE], "--dataset_dir", phantoms, "--output_dir", trained, *QUICK)
    folder = trained / "evaluation"
    table = (folder / "summary.md").read_text()
    assert all(re.search(rf"^\| {score} \| \d", table, re.M) for score in ("pixel accuracy", "dice", "jaccard"))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["cases"] > summary["lesion_cases"] > 0
    with open(folder / "per_case.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = {name: sum(int(row[name]) for row in rows) for name in ("tp", "fp", "fn", "tn")}
    assert sum(counts.values()) == summary["cases"] * 64 * 64
    right = (counts["tp"] + counts["tn"]) / sum(counts.values())
    assert summary["pooled"]["accuracy"]["value"] == pytest.approx(right, abs=1e-6)
    marked = [row["case_id"] for row in rows if int(row["tp"]) + int(row["fp"])]
    assert marked and all((folder / "gradcam" / case).is_file() for case in marked)


def test_inference_writes_mask_probability_overlay_and_panels(trained, phantoms, tmp_path):
    weights = trained / "models" / "model.pt"
    options = [
        "--dataset_dir",
        phantoms / "malignant",
        "--output_dir",
        tmp_path,
        "--ckpt_path",
        weights,
        *QUICK[:2],
        *SLIM,
    ]
    bundle("inference", [INFERENCE], *options, "--threshold", "0.3", "--min_lesion_pixels", "30")
    with open(tmp_path / "predictions.csv", newline="") as file:
        areas = {row["case_id"].removesuffix(".png"): int(row["lesion_pixels"]) for row in csv.DictReader(file)}
    assert len(areas) == 6 and max(areas.values()) >= 30
    assert all(area == 0 or area >= 30 for area in areas.values())
    for name in areas:
        picture = Image.open(tmp_path / f"{name}_panels.png")
        mask, probability, overlay = (
            Image.open(tmp_path / f"{name}_{kind}.png") for kind in ("mask", "probability", "overlay")
        )
        assert mask.size == probability.size == overlay.size
        assert picture.width > 4 * mask.width and picture.height > mask.height
        left, top = 2 * (mask.width + 4), picture.height - mask.height
        shown = np.asarray(picture.crop((left, top, left + mask.width, picture.height)).convert("L"))
        np.testing.assert_array_equal(shown, np.asarray(mask))


def test_recipe_of_the_paper():
    parser = parsed(TRAIN)
    settings = {key: parser.get(key) for key in ("image_size", "batch_size", "epochs", "learning_rate", "lesions_only")}
    assert settings == {"image_size": 256, "batch_size": 4, "epochs": 50, "learning_rate": 0.001, "lesions_only": False}
    network = parser.get_parsed_content("network_def")
    assert sum(weight.numel() for weight in network.parameters()) == 14_378_733
    assert type(parser.get_parsed_content("optimizer")) is torch.optim.Adam


def test_rate_is_halved_in_the_sixth_epoch_without_a_better_dice():
    parser = parsed(TRAIN, **{"network": "$torch.nn.Linear(1, 1)"})
    scheduler = parser.get_parsed_content("lr_scheduler")
    rates = []
    for dice in [0.5, *[0.4] * 6, 0.6, *[0.6] * 5]:
        scheduler.step(dice)
        rates.append(scheduler.get_last_lr()[0])
    assert rates == [0.001] * 6 + [0.0005] * 7


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 1, 8, 8), r"size 8 \(axis 0\) is too small.*at least 16"), ((2, 3, 32, 32), "expected 1 input channels")],
)
def test_images_that_do_not_fit_the_network(shape, message):
    with pytest.raises(ValueError, match=message):
        parsed(INFERENCE).get_parsed_content("network_def")(torch.rand(shape))


def test_documented_options_of_the_network():
    text = (ROOT / "bundles" / "attention_unet" / "docs" / "README.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| ([\d,]+) \| `--network_def#attention_gates (True|False)` \|$", text, re.M)
    assert len(rows) == 2
    for count, gates in rows:
        network = DeepAttentionUNet(attention_gates=gates == "True")
        assert sum(weight.numel() for weight in network.parameters()) == int(count.replace(",", ""))
