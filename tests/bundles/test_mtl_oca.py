"""The mtl_oca bundle, run as a user runs it: from the command line, on files."""

import csv
import json

import numpy as np
import pytest
import torch
from hybrid_attention.data import DataError
from monai.bundle import ConfigParser
from PIL import Image
from scipy.ndimage import gaussian_gradient_magnitude

from tests.bundles.commands import bundle, config

TRAIN, EVALUATE, INFERENCE = (config("mtl_oca", name) for name in ("train", "evaluate", "inference"))
NAMES = ["benign", "malignant", "normal"]
SMALL = ["--image_size", "48"]
NETWORK = ["--network_def#channels", "[16,16]"]
UNET = (
    "{'_target_': 'hybrid_attention.networks.MTLDUNet', 'in_channels': '@in_channels', 'num_classes': '@num_classes', "
    "'channels': [8, 8]}"
)


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    options = ["--dataset_dir", phantoms, "--output_dir", out, *SMALL, *NETWORK, "--epochs", 3, "--batch_size", 4]
    bundle("training", [TRAIN], *options)
    return out


@pytest.fixture(scope="module")
def evaluated(trained, phantoms):
    bundle("evaluating", [TRAIN, EVALUATE], "--dataset_dir", phantoms, "--output_dir", trained, *SMALL, *NETWORK)
    return trained / "evaluation"


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def cause_of(error):
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def configured(*options, **overrides):
    """The training config as parsed, with overrides by key (`__` for `#`)."""
    parser = ConfigParser()
    parser.read_config([TRAIN, *options])
    parser.update({key.replace("__", "#"): value for key, value in overrides.items()})
    return parser


def test_keeps_the_epoch_that_is_best_at_both_tasks(trained):
    history = rows_of(trained / "history.csv")
    scores = [float(row["val_score"]) for row in history]
    for row, score in zip(history, scores, strict=True):
        assert score == pytest.approx((float(row["val_mean_dice"]) + float(row["val_accuracy"])) / 2)
    record = json.loads((trained / "models" / "training.json").read_text())
    assert record["epoch"] == 1 + scores.index(max(scores))
    assert float(history[-1]["train_loss"]) < float(history[0]["train_loss"])
    assert float(history[-1]["val_loss"]) > 0


def test_evaluation_scores_mask_and_class(evaluated):
    rows = rows_of(evaluated / "per_case.csv")
    summary = json.loads((evaluated / "summary.json").read_text())
    for row in rows:
        probabilities = [float(row[f"probability_{name}"]) for name in NAMES]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert row["predicted_class"] == NAMES[int(np.argmax(probabilities))]
        assert row["case_id"].startswith(row["class"] + "/")
    right = sum(row["predicted_class"] == row["class"] for row in rows)
    assert summary["classification"]["accuracy"]["value"] == pytest.approx(right / len(rows))
    assert summary["classification"]["class_names"] == NAMES
    assert 0 <= summary["lesion_only"]["dice"]["mean"] <= 1
    assert {path.name for path in evaluated.glob("gradcam/*/*.png")}  # of the class: also where nothing is marked
    assert len(list(evaluated.glob("gradcam/*/*.png"))) == len(rows)


def test_inference_writes_mask_class_and_heat(trained, evaluated, phantoms, tmp_path):
    weights = trained / "models" / "model.pt"
    options = ["--dataset_dir", phantoms, "--output_dir", tmp_path, "--ckpt_path", weights, *SMALL]
    bundle("inference", [INFERENCE], *options)  # the record tells the network's widths
    rows = {row["case_id"]: row for row in rows_of(tmp_path / "predictions.csv")}
    assert len(rows) == 21
    for case in rows_of(evaluated / "per_case.csv"):  # the same network, config and images by another way
        row = rows[case["case_id"]]
        for name in NAMES:
            assert float(row[f"probability_{name}"]) == pytest.approx(float(case[f"probability_{name}"]), abs=0.02)
    image = phantoms / "malignant" / "malignant (1).png"
    mask = Image.open(tmp_path / "malignant" / "malignant (1)_mask.png")
    assert mask.size == Image.open(image).size
    assert (np.array(mask) > 0).sum() == int(rows["malignant/malignant (1).png"]["lesion_pixels"])
    assert len(list(tmp_path.glob("*/*_gradcam.png"))) == 21


def test_other_features_for_the_classes_than_trained(trained, phantoms):
    """The weights fit both, so only the record of the training can tell."""
    options = ["--dataset_dir", phantoms, "--output_dir", trained, *SMALL, *NETWORK]
    options += ["--network_def#classify_on", "object_context", "--gradcam", "False"]
    done = bundle("evaluating", [TRAIN, EVALUATE], *options, check=False)
    assert done.returncode != 0 and "trained with other settings: network_def was" in done.stderr


def test_masks_alone(phantoms, tmp_path):
    """The single-task baseline: another network, no classes, no edge channel."""
    options = ["--dataset_dir", phantoms, "--output_dir", tmp_path, *SMALL, "--class_names", "$None"]
    options += ["--network_def", UNET, "--edge_channel", "False"]
    bundle("training", [TRAIN], *options, "--epochs", 1)
    history = rows_of(tmp_path / "history.csv")
    assert "val_accuracy" not in history[0] and history[0]["val_score"] == history[0]["val_mean_dice"]
    bundle("evaluating", [TRAIN, EVALUATE], *options)
    assert json.loads((tmp_path / "evaluation" / "summary.json").read_text())["classification"] is None
    alone = ["--dataset_dir", phantoms / "benign", "--ckpt_path", tmp_path / "models" / "model.pt", *SMALL]
    done = bundle("inference", [INFERENCE], *alone, "--output_dir", tmp_path / "predictions")
    assert "other settings" not in done.stdout
    rows = rows_of(tmp_path / "predictions" / "predictions.csv")
    assert len(rows) == 10 and "predicted_class" not in rows[0]


def parameters(parser):
    return sum(weight.numel() for weight in parser.get_parsed_content("network_def").parameters())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, 8_245_159),
        ({"network_def__object_context": False}, 8_228_101),
        ({"network_def__classify_on": "object_context"}, 8_245_159),
        ({"class_names": None}, 8_236_708),
        ({"network_def": {"_target_": "hybrid_attention.networks.MTLDUNet"}}, 8_314_373),
    ],
)
def test_rows_of_the_ablation_and_baselines(overrides, expected):
    assert parameters(configured(**overrides)) == expected


def test_classifying_on_other_features_gives_other_classes():
    image = torch.rand(1, 2, 32, 32)
    outputs = []
    for features in ("backbone", "object_context"):
        torch.manual_seed(0)
        network = configured(network_def__classify_on=features, network_def__channels=[16, 16])
        outputs.append(network.get_parsed_content("network_def").eval()(image))
    assert torch.equal(outputs[0].mask, outputs[1].mask)
    assert not torch.equal(outputs[0].class_logits, outputs[1].class_logits)


@pytest.mark.parametrize(("edges", "channels"), [(True, 2), (False, 1)])
def test_edge_channel(phantoms, edges, channels):
    parser = configured(dataset_dir=str(phantoms), edge_channel=edges, image_size=64)
    case = parser.get_parsed_content("validate#preprocessing")(parser.get_parsed_content("split").validation[0])
    assert case["image"].shape == (channels, 64, 64)
    if edges:
        grey, edge = case["image"]
        expected = gaussian_gradient_magnitude(grey.numpy(), 2.0)
        assert np.corrcoef(expected.ravel(), edge.flatten())[0, 1] > 0.999
        assert 0.05 < float(edge.max()) < 1.2


def test_augmented_training_case(phantoms):
    parser = configured(dataset_dir=str(phantoms), image_size=64)
    case = parser.get_parsed_content("split").train[0]
    transform = parser.get_parsed_content("train#preprocessing").set_random_state(0)
    made = [transform(case) for _ in range(4)]
    assert {tuple(one["image"].shape) for one in made} == {(2, 64, 64)}
    assert {value for one in made for value in one["label"].unique().tolist()} <= {0.0, 1.0}
    assert len({float(one["label"].sum()) for one in made}) > 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"class_names": ["benign", "malignant"]}, "class 'normal' is not one of benign, malignant"),
        ({"fold": 5}, "fold must be from 0 to 4, got 5"),
        ({"fold": -1}, "fold must be from 0 to 4, got -1"),
    ],
)
def test_bad_classes_and_folds(phantoms, overrides, message):
    with pytest.raises(Exception) as error:
        configured(dataset_dir=str(phantoms), **overrides).get_parsed_content("split")
    cause = cause_of(error.value)
    assert isinstance(cause, (DataError, ValueError)) and message in str(cause)


@pytest.mark.parametrize(("sigma", "message"), [(0, "sigma must be a finite number"), (10, "wider than spatial axis")])
def test_bad_sigma(phantoms, sigma, message):
    parser = configured(dataset_dir=str(phantoms), image_size=64, edge_sigma=sigma)
    with pytest.raises(Exception) as error:
        case = parser.get_parsed_content("split").train[0]
        parser.get_parsed_content("validate#preprocessing")(case)
    assert message in str(cause_of(error.value))
