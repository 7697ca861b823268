"""The hybrid bundle's overlays beyond the paper, run as a user runs them."""

import json

import pytest
import torch
from hybrid_attention.engines import find_weights

from tests.bundles.commands import QUICK, ROOT, bundle, config

TRAIN, SCRATCH, IMPROVED, PRETRAIN, EVALUATE = (
    config("hybrid", name) for name in ("train", "from_scratch", "improved", "pretrain", "evaluate")
)
OVERLAYS = ROOT / "scripts" / "experiments" / "overlays"
SMALL = ["--network_def", "{'_target_': 'hybrid_attention.networks.baselines.residual_unet', 'channels': [4, 8, 16]}"]


def trained(configs, phantoms, out, *options, epochs=1):
    given = ["--dataset_dir", phantoms, "--output_dir", out, "--epochs", epochs, *QUICK, *options]
    return bundle("training", configs, *given)


def weights(folder, name="model.pt"):
    return torch.load(folder / "models" / name, weights_only=True)


def test_improved_recipe(phantoms, tmp_path):
    pytest.importorskip("kornia")
    given = ["--dataset_dir", phantoms, "--output_dir", tmp_path, *QUICK, *SMALL]
    refused = bundle("training", [TRAIN, IMPROVED], *given, cwd=tmp_path, check=False)
    assert refused.returncode != 0
    assert "no weights at output/pretrained/han/models/model.pt" in refused.stderr
    trained([TRAIN, SCRATCH], phantoms, tmp_path / "before", *SMALL)
    start = tmp_path / "before" / "models" / "model.pt"
    trained([TRAIN, IMPROVED], phantoms, tmp_path, *SMALL, "--initial_weights", start)
    options = ["--dataset_dir", phantoms, "--output_dir", tmp_path, *QUICK, *SMALL, "--epochs", 1]
    bundle("evaluating", [TRAIN, IMPROVED, EVALUATE], *options, "--score_size", "original")
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert summary["score_size"] == "original"
    row = (tmp_path / "evaluation" / "per_case.csv").read_text().splitlines()
    counts = dict(zip(row[0].split(","), row[1].split(","), strict=True))
    assert sum(int(counts[name]) for name in ("tp", "fp", "fn", "tn")) == 96 * 128  # not the network's 32 x 32


def test_moving_average_is_what_is_kept(phantoms, tmp_path):
    trained([TRAIN, SCRATCH, OVERLAYS / "moving_average.yaml"], phantoms, tmp_path, *SMALL)
    kept, state = weights(tmp_path), weights(tmp_path, "checkpoint.pt")["objects"]
    assert all(torch.equal(kept[name], value) for name, value in state["average"].items())
    assert any(not torch.equal(kept[name], value) for name, value in state["network"].items())
    options = ["--dataset_dir", phantoms, "--output_dir", tmp_path, *QUICK, *SMALL, "--epochs", 1]
    bundle("evaluating", [TRAIN, SCRATCH, OVERLAYS / "moving_average.yaml", EVALUATE], *options, "--part", "validation")
    summary = json.loads((tmp_path / "evaluation_validation" / "summary.json").read_text())
    record = json.loads((tmp_path / "models" / "training.json").read_text())
    # the statistics that the average was validated with are those that were saved
    assert summary["lesion_only"]["dice"]["mean"] == pytest.approx(record["metric"]["val_mean_dice"], abs=1e-5)


def test_resumed_run_with_batched_augmentation_and_averages_equals_the_uninterrupted(phantoms, tmp_path):
    pytest.importorskip("kornia")
    augmentation = {
        "_target_": "hybrid_attention.engines.AugmentBatch",
        "geometric": [{"_target_": "kornia.augmentation.RandomAffine", "degrees": 20.0, "p": 0.7}],
        "intensity": [{"_target_": "hybrid_attention.transforms.RandomSpeckle"}],
    }
    # the schedule of train.yaml does not depend on the number of epochs, so one may follow the other
    configs = [TRAIN, OVERLAYS / "moving_average.yaml"]
    options = [*SMALL, "--train#trainer#prepare_batch", str(augmentation)]
    trained(configs, phantoms, tmp_path / "whole", *options, epochs=2)
    trained(configs, phantoms, tmp_path / "cut", *options, epochs=1)
    trained(configs, phantoms, tmp_path / "cut", *options, "--resume", "True", epochs=2)
    whole, cut = (weights(tmp_path / name, "checkpoint.pt")["objects"] for name in ("whole", "cut"))
    for part in ("network", "average"):
        assert all(torch.equal(value, cut[part][name]) for name, value in whole[part].items()), part


def test_deep_supervision_trains_heads_and_keeps_the_network_alone(phantoms, tmp_path):
    trained([TRAIN, SCRATCH, OVERLAYS / "deep_supervision.yaml"], phantoms, tmp_path)
    heads = weights(tmp_path, "checkpoint.pt")["objects"]["supervision"]
    assert sorted(tuple(value.shape) for value in heads.values()) == [(1,), (1,), (1, 128, 1, 1), (1, 256, 1, 1)]
    assert all(value.abs().sum() > 0 for value in heads.values())
    assert not any(name.startswith("heads") for name in weights(tmp_path))


def test_eh_former_starts_from_its_coarse_stage_and_lowers_the_weight_of_easy_regions(phantoms, tmp_path):
    coarse = "{'_target_': 'hybrid_attention.networks.baselines.EHFormerCoarse', 'backbone': 'mit_b0'}"
    trained([TRAIN, SCRATCH], phantoms, tmp_path / "coarse", "--network_def", coarse)
    options = ["--network_def#backbone", "mit_b0", "--initial_weights", find_weights(tmp_path / "coarse")]
    trained([TRAIN, SCRATCH, OVERLAYS / "eh_former.yaml"], phantoms, tmp_path, *options)
    state = weights(tmp_path)
    assert all(torch.equal(state[f"coarse.{name}"], value) for name, value in weights(tmp_path / "coarse").items())
    assert state["alpha"] == 0.5  # after the only epoch
    assert "pre-training" in json.loads((tmp_path / "models" / "training.json").read_text())["images"]


def test_boundary_loss_is_added_to_the_region_loss(phantoms, tmp_path):
    boundary = OVERLAYS / "boundary_loss.yaml"
    for name, weight in (("without", 0.0), ("with", 0.1)):
        trained([TRAIN, SCRATCH, boundary], phantoms, tmp_path / name, *SMALL, "--boundary_weight", weight)
    plain, added = (weights(tmp_path / name) for name in ("without", "with"))
    trained([TRAIN, SCRATCH], phantoms, tmp_path / "region", *SMALL)
    assert all(torch.equal(value, plain[name]) for name, value in weights(tmp_path / "region").items())
    assert any(not torch.equal(value, plain[name]) for name, value in added.items())


def test_pretraining_gives_weights_to_start_from(phantoms, tmp_path):
    trained([TRAIN, SCRATCH, PRETRAIN], phantoms, tmp_path / "before", *SMALL)
    record = json.loads((tmp_path / "before" / "models" / "training.json").read_text())
    assert record["metric"].keys() == {"peak_signal_to_noise_ratio"}
    start = find_weights(tmp_path / "before")
    trained([TRAIN, SCRATCH], phantoms, tmp_path / "after", *SMALL, "--initial_weights", start, "--learning_rate", 1e-9)
    record = json.loads((tmp_path / "after" / "models" / "training.json").read_text())
    assert record["recipe"]["initial_weights"]["file"] == "model.pt"
    before, after = weights(tmp_path / "before"), weights(tmp_path / "after")
    kernels = [name for name in before if before[name].ndim == 4]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in kernels)  # the rate is next to nothing


def test_han_with_a_class_head_empties_normal_images(phantoms, tmp_path):
    network = "{'_target_': 'hybrid_attention.networks.HybridMultiTaskNet', 'in_channels': '@in_channels'}"
    options = ["--dataset_dir", phantoms, "--output_dir", tmp_path, *QUICK, "--epochs", 1, "--network_def", network]
    train, evaluate = config("mtl_oca", "train"), config("mtl_oca", "evaluate")
    bundle("training", [train], *options)
    bundle("evaluating", [train, evaluate], *options, "--gradcam", "False", "--normal_threshold", "0.0")
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert summary["decision"]["normal_threshold"] == 0
    assert summary["lesion_only"]["dice"]["mean"] == 0  # every image is normal with a probability of 0 or more
    assert summary["false_positive_rate_without_lesion"] == 0
