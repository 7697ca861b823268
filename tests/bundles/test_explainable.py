"""The explainable bundle, run as a user runs it: from the command line, on files."""

import ast
import csv
import json
import re

import numpy as np
import pytest
from hybrid_attention.networks import TripleEncoderUNet, triple_encoder_model
from monai.bundle import ConfigParser
from PIL import Image

from tests.bundles.commands import ROOT, bundle, config

TRAIN, EVALUATE, INFERENCE = (config("explainable", name) for name in ("train", "evaluate", "inference"))
QUICK = ["--image_size", "64", "--batch_size", "8", "--model", "15", "--learning_rate", "0.002"]


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    """A frozen model of two encoders, after three epochs on phantoms with and without lesion."""
    out = tmp_path_factory.mktemp("trained")
    bundle("training", [TRAIN], "--dataset_dir", phantoms, "--output_dir", out, "--epochs", 3, *QUICK)
    return out


@pytest.fixture(scope="module")
def evaluated(trained, phantoms):
    bundle("evaluating", [TRAIN, EVALUATE], "--dataset_dir", phantoms, "--output_dir", trained, *QUICK)
    return trained / "evaluation"


def test_keeps_the_epoch_of_the_least_validation_loss(trained):
    with open(trained / "history.csv", newline="") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    record = json.loads((trained / "models" / "training.json").read_text())
    assert record["epoch"] == 1 + losses.index(min(losses))
    assert record["metric"]["val_loss"] == pytest.approx(min(losses))
    assert losses[-1] < losses[0]


def test_evaluation_states_all_conventions_and_curves(evaluated):
    summary = json.loads((evaluated / "summary.json").read_text())
    assert summary["cases"] > summary["lesion_cases"] > 0
    for convention in ("lesion_only", "empty_is_one", "empty_is_zero", "pooled"):
        assert {"dice", "jaccard", "precision", "sensitivity", "f1"} <= set(summary[convention])
    assert summary["empty_is_zero"]["dice"]["mean"] <= summary["lesion_cases"] / summary["cases"]
    assert 0 <= summary["pixel_roc"]["auc"] <= 1 and summary["pixel_roc"]["pixels"] == summary["cases"] * 64 * 64
    assert 0 < summary["pixel_roc"]["error_bound"] < 0.05
    assert summary["distance_unit"] == "pixel"
    text = (evaluated / "summary.md").read_text()
    assert "SYNTHETIC DATA" in text and "empty_is_zero: mean of" in text and "pixel AUC" in text
    with open(evaluated / "roc.csv", newline="") as file:
        points = [(float(p["false_positive_rate"]), float(p["true_positive_rate"])) for p in csv.DictReader(file)]
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    area = np.trapezoid([y for _, y in points], [x for x, _ in points])
    assert area == pytest.approx(summary["pixel_roc"]["auc"], abs=0.005)


def test_evaluation_writes_the_pictures_that_reports_show(evaluated):
    with open(evaluated / "per_case.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        name = row["case_id"]
        shown = {kind: np.array(Image.open(evaluated / kind / name)) for kind in ("truths", "masks", "probabilities")}
        assert (shown["truths"] > 0).sum() == int(row["tp"]) + int(row["fn"])
        assert (shown["masks"] > 0).sum() == int(row["tp"]) + int(row["fp"])
        assert (shown["probabilities"][shown["masks"] > 0] >= 127).all()
        explained = (evaluated / "gradcam" / name).is_file()
        assert explained == (int(row["tp"]) + int(row["fp"]) > 0)  # no mark, nothing to explain


def test_scores_of_the_training_images_are_asked_for_by_name(trained, phantoms):
    options = ["--dataset_dir", phantoms, "--output_dir", trained, *QUICK]
    done = bundle("evaluating", [TRAIN, EVALUATE], *options, "--part", "train", "--gradcam", "False")
    assert "TRAIN IMAGES: these numbers say nothing" in done.stdout
    folder = trained / "evaluation_train"
    assert json.loads((folder / "summary.json").read_text())["part"] == "train"
    assert not (folder / "gradcam").exists()
    done = bundle("evaluating", [TRAIN, EVALUATE], *options, "--part", "all", check=False)
    assert done.returncode != 0 and "part must be one of train, validation, test, got 'all'" in done.stderr


def test_inference_writes_mask_probability_and_heat(trained, phantoms, tmp_path):
    weights = trained / "models" / "model.pt"
    options = ["--dataset_dir", phantoms / "malignant", "--output_dir", tmp_path, "--ckpt_path", weights, *QUICK[:2]]
    bundle("inference", [INFERENCE], *options, "--model", "15")
    size = Image.open(phantoms / "malignant" / "malignant (1).png").size
    mask, probability = (Image.open(tmp_path / f"malignant (1)_{kind}.png") for kind in ("mask", "probability"))
    assert mask.size == probability.size == size
    assert ((np.array(mask) > 0) == (np.array(probability) > 127)).mean() > 0.999  # 8 bits round at the threshold
    with open(tmp_path / "predictions.csv", newline="") as file:
        marked = {row["case_id"] for row in csv.DictReader(file) if int(row["lesion_pixels"])}
    heats = {path.name.replace("_gradcam", "") for path in tmp_path.glob("*_gradcam.png")}
    assert marked and heats <= marked
    for name in heats:
        heat = Image.open(tmp_path / name.replace(".png", "_gradcam.png"))
        assert heat.height == Image.open(phantoms / "malignant" / name).height and heat.mode == "RGB"


def test_other_model_than_trained_is_refused(trained, phantoms, tmp_path):
    options = ["--dataset_dir", phantoms, "--output_dir", trained, "--evaluation_dir", tmp_path / "out", *QUICK[:4]]
    done = bundle("evaluating", [TRAIN, EVALUATE], *options, "--model", "16", check=False)
    assert done.returncode != 0 and "model was 15, is 16" in done.stderr


def test_finished_run_has_nothing_to_resume(trained, phantoms):
    before = (trained / "models" / "model.pt").read_bytes()
    options = ["--dataset_dir", phantoms, "--output_dir", trained, "--epochs", 3, *QUICK, "--resume", "True"]
    assert "of a finished run" in bundle("training", [TRAIN], *options).stdout
    assert (trained / "models" / "model.pt").read_bytes() == before


def test_documented_table_of_models():
    text = (ROOT / "bundles" / "explainable" / "docs" / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \| (yes|no) \| (BCE|Dice) \| ([\d,]+) \| ([\d,]+) \|$", text, re.M)
    assert [int(row[0]) for row in rows] == list(range(1, 21))
    letters = {"R": "resnet18", "D": "densenet121", "E": "efficientnet-b0"}
    attentions = {"CBAM": "cbam", "Non-Local": "non_local", "none": None}
    for number, attention, encoders, frozen, loss, total, trainable in rows:
        model = triple_encoder_model(int(number))
        assert model.attention == attentions[attention]
        assert model.encoders == tuple(letters[letter] for letter in encoders.split())
        assert (model.freeze_encoders, model.loss) == (frozen == "yes", loss.lower())
        network = TripleEncoderUNet(
            encoders=model.encoders, attention=model.attention, freeze_encoders=model.freeze_encoders
        )
        weights = list(network.parameters())
        assert sum(weight.numel() for weight in weights) == int(total.replace(",", ""))
        assert sum(weight.numel() for weight in weights if weight.requires_grad) == int(trainable.replace(",", ""))


@pytest.mark.parametrize("number", [0, 21, "1"])
def test_no_such_model(number):
    with pytest.raises(ValueError, match=re.escape(f"from 1 to 20, as in the paper's table 1, got {number!r}")):
        triple_encoder_model(number)


@pytest.mark.parametrize("options", ["--network_def#attention None", "--network_def#skips True"])
def test_options_beyond_the_table(options):
    parser = ConfigParser()
    parser.read_config(TRAIN)
    key, value = options.split()
    parser.update({key[2:]: ast.literal_eval(value)})
    network = parser.get_parsed_content("network_def")
    assert sum(weight.numel() for weight in network.parameters()) != 23_881_989
