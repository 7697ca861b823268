"""Networks of others in a bundle, by one override."""

import csv

import pytest
import torch
from hybrid_attention.networks import baselines
from monai.bundle import ConfigParser

from tests.bundles.commands import bundle, config


@pytest.mark.parametrize("name", baselines.__all__)
def test_one_override_puts_a_baseline_into_the_hybrid_bundle(name):
    parser = ConfigParser()
    parser.read_config(config("hybrid", "train"))
    override = {"_target_": f"hybrid_attention.networks.baselines.{name}"}
    parser.update({"network_def": override, "channels_last": True, "device": "cpu"})
    net, loss = parser.get_parsed_content("network"), parser.get_parsed_content("loss")
    logits = parser.get_parsed_content("train#inferer")(torch.rand(2, 3, 64, 64), net)
    assert loss(logits, torch.ones(2, 1, 64, 64)).isfinite()


def test_bundle_trains_and_explains_a_baseline(phantoms, tmp_path):
    train, evaluate = config("hybrid", "train"), config("hybrid", "evaluate")
    options = ["--dataset_dir", phantoms, "--output_dir", tmp_path, "--image_size", 40, "--batch_size", 4]
    options += ["--network_def", "{'_target_': 'hybrid_attention.networks.baselines.nnunet', 'stages': 4}"]
    bundle("training", [train], *options, "--epochs", 1)
    bundle("evaluating", [train, evaluate], *options, "--gradcam", "True")
    with open(tmp_path / "evaluation" / "per_case.csv", newline="") as file:
        cases = len(list(csv.DictReader(file)))
    assert cases == len(list((tmp_path / "evaluation" / "masks").rglob("*.png"))) > 0
    assert (tmp_path / "evaluation" / "gradcam").is_dir()
