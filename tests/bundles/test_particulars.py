"""What is particular to one bundle: the tables of its documentation, its recipe, its channels and its classes."""

import json
import re
import shlex

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.ndimage import gaussian_gradient_magnitude

from tests.bundles.commands import ROOT, bundle, config, parsed


def documented(name):
    """Rows of a README as trainable parameters and settings."""
    text = (ROOT / "bundles" / name / "docs" / "README.md").read_text()
    variables = dict(re.findall(r'`([A-Z]+)="(\{.*?\})"`', text))
    for row in re.findall(r"^\|(.*)\|$", text, re.M):
        cells = [cell.strip() for cell in row.split("|")]
        counts = [int(cell.replace(",", "")) for cell in cells if re.fullmatch(r"\d{1,3}(,\d{3})+", cell)]
        options = next((cell.strip("`") for cell in cells if cell.startswith("`--")), None)
        if name == "explainable" and cells[0].isdigit():
            options = f"--model {cells[0]}"
        if counts and options:
            words = [variables.get(word.removeprefix("$"), word) for word in shlex.split(options)]
            yield counts, {key[2:]: value for key, value in zip(words[::2], words[1::2], strict=True)}


@pytest.mark.parametrize(("name", "rows"), [("hybrid", 5), ("attention_unet", 2), ("mtl_oca", 6), ("explainable", 20)])
def test_documented_rows_have_the_parameters_that_they_say(name, rows):
    table = list(documented(name))
    assert len(table) == rows
    for counts, settings in table:
        values = {key: value if value.startswith("$") else yaml.safe_load(value) for key, value in settings.items()}
        if name == "explainable":
            values["encoder_weights"] = "random"  # which frozen encoders must be told
        weights = list(parsed(name, "train", **values).get_parsed_content("network_def").parameters())
        assert counts[-1] == sum(weight.numel() for weight in weights if weight.requires_grad)
        assert counts[0] == sum(weight.numel() for weight in weights)


def test_documented_models_say_what_they_are():
    text = (ROOT / "bundles" / "explainable" / "docs" / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \| (yes|no) \| (BCE|Dice) \|", text, re.M)
    letters = {"R": "resnet18", "D": "densenet121", "E": "efficientnet-b0"}
    attentions = {"CBAM": "cbam", "Non-Local": "non_local", "none": None}
    for number, attention, encoders, frozen, loss in rows:
        settings = parsed("explainable", "train", model=int(number)).get_parsed_content("row")
        expected = (attentions[attention], tuple(letters[one] for one in encoders.split()), frozen == "yes")
        assert settings == (*expected, loss.lower())


def test_attention_unet_has_the_recipe_of_the_paper():
    parser = parsed("attention_unet", "train", **{"network": "$torch.nn.Linear(1, 1)"})
    settings = {key: parser.get(key) for key in ("image_size", "batch_size", "epochs", "learning_rate", "lesions_only")}
    assert settings == {"image_size": 256, "batch_size": 4, "epochs": 50, "learning_rate": 0.001, "lesions_only": False}
    assert parser.get("loss")["_target_"] == "torch.nn.BCEWithLogitsLoss"
    assert type(parser.get_parsed_content("optimizer")) is torch.optim.Adam
    scheduler, rates = parser.get_parsed_content("lr_scheduler"), []
    for dice in [0.5, *[0.4] * 6, 0.6, *[0.6] * 5]:  # halved in the sixth epoch without a better Dice
        scheduler.step(dice)
        rates.append(scheduler.get_last_lr()[0])
    assert rates == [0.001] * 6 + [0.0005] * 7


def test_mtl_oca_for_masks_alone(phantoms, tmp_path):
    """The single-task baseline: another network, no classes, no edge channel."""
    unet = "{'_target_': 'hybrid_attention.networks.MultiTaskUNet', 'in_channels': '@in_channels', 'channels': [8, 8], "
    unet += "'num_classes': '@num_classes'}"
    given = ["--dataset_dir", phantoms, "--output_dir", tmp_path, "--image_size", "48", "--class_names", "$None"]
    given += ["--network_def", unet, "--edge_channel", "False"]
    bundle("training", [config("mtl_oca", "train")], *given, "--epochs", 1)
    history = pd.read_csv(tmp_path / "history.csv")
    assert "val_accuracy" not in history and history["val_score"][0] == history["val_mean_dice"][0]
    bundle("evaluating", [config("mtl_oca", "train"), config("mtl_oca", "evaluate")], *given)
    assert json.loads((tmp_path / "evaluation" / "summary.json").read_text())["classification"] is None
    alone = ["--dataset_dir", phantoms / "benign", "--ckpt_path", tmp_path / "models" / "model.pt"]
    alone += ["--output_dir", tmp_path / "predictions", "--image_size", "48"]
    done = bundle("inference", [config("mtl_oca", "inference")], *alone)
    assert "other settings" not in done.stdout
    rows = pd.read_csv(tmp_path / "predictions" / "predictions.csv")
    assert len(rows) == 10 and "predicted_class" not in rows


@pytest.mark.parametrize(("edges", "channels"), [(True, 2), (False, 1)])
def test_edge_channel_of_mtl_oca(phantoms, edges, channels):
    parser = parsed("mtl_oca", "train", dataset_dir=str(phantoms), edge_channel=edges, image_size=64)
    case = parser.get_parsed_content("validate#preprocessing")(parser.get_parsed_content("split").validation[0])
    assert case["image"].shape == (channels, 64, 64)
    if edges:
        grey, edge = case["image"]
        expected = gaussian_gradient_magnitude(grey.numpy(), 2.0)
        assert np.corrcoef(expected.ravel(), edge.flatten())[0, 1] > 0.999
        assert 0.05 < float(edge.max()) < 1.2
