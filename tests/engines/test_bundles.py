import json
import sys
from pathlib import Path

import hybrid_attention
import pytest
import torch
from hybrid_attention.engines import find_bundle_root, run_folder, save_weights, trained_network
from hybrid_attention.engines.bundles import plain_definition, trained_bundle
from hybrid_attention.engines.weights import weights_digest
from hybrid_attention.networks import PlainUNet
from hybrid_attention.prediction.bundles import default_bundle, own_bundles
from torch import nn


def test_bundle_root_is_above_the_config_file(tmp_path, monkeypatch):
    config = tmp_path / "moved" / "configs" / "train.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("")
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file", str(config)])
    assert find_bundle_root("hybrid") == str(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file=['moved/configs/train.yaml','x.yaml']"])
    assert find_bundle_root("hybrid") == str(tmp_path / "moved")


def test_bundle_root_without_a_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["python"])
    checkout = Path(hybrid_attention.__file__).resolve().parents[1]
    assert find_bundle_root("hybrid") == str(checkout / "bundles" / "hybrid")
    monkeypatch.chdir(tmp_path)
    assert find_bundle_root("no such bundle") == str(tmp_path)


def test_packaged_bundle_finds_itself(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "hybrid_attention").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.setattr(hybrid_attention, "__file__", str(tmp_path / "hybrid_attention" / "__init__.py"))
    assert find_bundle_root("hybrid") == str(tmp_path)
    assert default_bundle() == trained_bundle(None) == tmp_path.name
    with pytest.raises(FileNotFoundError, match=f"the bundle {tmp_path.name} has no trained weights"):
        hybrid_attention.load_model()


def test_bundles_inside_the_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "hybrid_attention"
    bundle = package / "bundles" / "hybrid"
    for folder in (bundle, package.parent / "bundles" / "of_others"):
        (folder / "configs").mkdir(parents=True)
        (folder / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr(hybrid_attention, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.chdir(tmp_path)
    assert own_bundles() == {"hybrid": bundle}
    assert find_bundle_root("hybrid") == str(bundle)
    assert run_folder(str(bundle)) == str(tmp_path / "hybrid")
    assert run_folder(str(package.parent)) == str(package.parent)


@pytest.fixture
def recorded(tmp_path):
    """A function that writes weights with a record of the network's definition."""

    def write(definition):
        save_weights(nn.Linear(1, 1), tmp_path / "model.pt")
        record = {"weights_sha256": weights_digest(tmp_path / "model.pt"), "recipe": {"network_def": definition}}
        (tmp_path / "training.json").write_text(json.dumps(record))
        return tmp_path / "model.pt"

    return write


def test_network_of_the_record(recorded):
    definition = {
        "_target_": "hybrid_attention.networks.HybridMultiTaskNet",
        "in_channels": "@in_channels",
        "num_classes": 4,
        "encoder_weights": "imagenet",
    }
    default = nn.Identity()
    assert trained_network(Path("nowhere/model.pt"), default) is default
    network = trained_network(recorded(definition), default, in_channels=2)
    assert type(network).__name__ == "HybridMultiTaskNet"
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 2, 32, 32)).class_logits.shape == (1, 4)


def test_nested_networks_and_builders(recorded):
    inner = {"_target_": "hybrid_attention.networks.MultiTaskOCANet", "channels": [16, 16], "num_classes": None}
    definition = {"_target_": "hybrid_attention.networks.LesionLogit", "network": inner}
    assert type(trained_network(recorded(definition), nn.Identity()).network).__name__ == "MultiTaskOCANet"
    baseline = {"_target_": "hybrid_attention.networks.baselines.residual_unet", "channels": [4, 8]}
    definition = {"_target_": "hybrid_attention.networks.with_group_norm", "network": baseline, "groups": 1}
    network = trained_network(recorded(definition), nn.Identity())
    assert {one.num_groups for one in network.modules() if isinstance(one, nn.GroupNorm)} == {1}


@pytest.mark.parametrize("weights", ["imagenet", "@encoder_weights", "$print()"])
def test_a_record_fetches_no_weights(weights):
    definition = {"_target_": "hybrid_attention.networks.baselines.flexible_unet", "pretrained": True}
    assert plain_definition(definition, {})["pretrained"] is False
    definition = {"_target_": "hybrid_attention.networks.HybridAttentionNet", "encoder_weights": weights}
    assert plain_definition(definition, {})["encoder_weights"] == "random"


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"_target_": "os.system", "command": "touch evil"}, r"names 'os\.system': only networks of hybrid_attention"),
        ({"_target_": "hybrid_attention.networks.pretrained.torch.os.system", "command": "x"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.pretrained.torch.load", "f": "x"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.torch", "f": "x"}, "only networks of"),
        ({"_target_": "monai.networks.nets.UNet"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.blocks.convolutions.with_group_norm"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.blocks.convolutions.conv_group_norm"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.lesion_logit", "output": 1}, "only networks of"),
        (
            {"_target_": "hybrid_attention.networks.with_group_norm", "network": {"_target_": "os.system"}},
            r"names 'os\.system'",
        ),
        ({"_target_": "hybrid_attention.networks.with_group_norm", "network": "$print()"}, "contains the expression"),
        ({"_target_": "hybrid_attention.networks.PlainUNet", "_mode_": "debug"}, "uses '_mode_'"),
        (
            {"_target_": "hybrid_attention.networks.PlainUNet", "depth": "$__import__('os').getpid()"},
            "contains the expression",
        ),
        ({"_target_": "hybrid_attention.networks.PlainUNet", "depth": "@depth"}, "contains the expression '@depth'"),
        ({"_target_": "hybrid_attention.networks.PlainUNet", "x": [{"_target_": "builtins.exec"}]}, "names 'builtins"),
    ],
)
def test_a_record_executes_nothing(definition, message, recorded):
    with pytest.raises(ValueError, match=message):
        trained_network(recorded(definition), PlainUNet())
