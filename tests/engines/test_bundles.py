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

NETWORKS = "hybrid_attention.networks"


def test_bundle_root(tmp_path, monkeypatch):
    config = tmp_path / "moved" / "configs" / "train.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("")
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file", str(config)])
    assert find_bundle_root("hybrid") == str(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file=['moved/configs/train.yaml','x.yaml']"])
    assert find_bundle_root("hybrid") == str(tmp_path / "moved")
    monkeypatch.setattr(sys, "argv", ["python"])
    checkout = Path(hybrid_attention.__file__).resolve().parents[1]
    assert find_bundle_root("hybrid") == str(checkout / "bundles" / "hybrid")
    assert find_bundle_root("no such bundle") == str(tmp_path)


def made_bundle(folder, package, monkeypatch):
    """A bundle, with the package at another place, in the absence of a command line."""
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr(hybrid_attention, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(sys, "argv", ["python"])


def test_packaged_bundle_finds_itself(tmp_path, monkeypatch):
    (tmp_path / "hybrid_attention").mkdir()
    made_bundle(tmp_path, tmp_path / "hybrid_attention", monkeypatch)
    assert find_bundle_root("hybrid") == str(tmp_path)
    assert default_bundle() == trained_bundle(None) == tmp_path.name
    with pytest.raises(FileNotFoundError, match=f"the bundle {tmp_path.name} has no trained weights"):
        hybrid_attention.load_model()


def test_bundles_inside_the_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "hybrid_attention"
    bundle, others = package / "bundles" / "hybrid", package.parent / "bundles" / "of_others"
    for folder in (bundle, others):
        made_bundle(folder, package, monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert own_bundles() == {"hybrid": bundle}
    assert find_bundle_root("hybrid") == str(bundle)
    assert [run_folder(str(folder)) for folder in (bundle, others)] == [str(tmp_path / "hybrid"), str(others)]


def recorded(folder, definition):
    """Write weights with a record of the network's definition."""
    save_weights(nn.Linear(1, 1), folder / "model.pt")
    record = {"weights_sha256": weights_digest(folder / "model.pt"), "recipe": {"network_def": definition}}
    (folder / "training.json").write_text(json.dumps(record))
    return folder / "model.pt"


def test_network_of_the_record(tmp_path):
    definition = {"_target_": f"{NETWORKS}.HybridMultiTaskNet", "in_channels": "@in_channels", "num_classes": 4}
    definition["encoder_weights"] = "imagenet"  # not fetched
    default = nn.Identity()
    assert trained_network(Path("nowhere/model.pt"), default) is default
    network = trained_network(recorded(tmp_path, definition), default, in_channels=2)
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 2, 32, 32)).class_logits.shape == (1, 4)
    inner = {"_target_": f"{NETWORKS}.baselines.residual_unet", "channels": [4, 8]}
    definition = {"_target_": f"{NETWORKS}.with_group_norm", "network": inner, "groups": 1}
    network = trained_network(recorded(tmp_path, definition), default)
    assert {one.num_groups for one in network.modules() if isinstance(one, nn.GroupNorm)} == {1}
    for key, value, kept in (("pretrained", True, False), ("encoder_weights", "$print()", "random")):
        assert plain_definition({"_target_": f"{NETWORKS}.HybridAttentionNet", key: value}, {})[key] == kept


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("os.system", {"command": "touch evil"}, r"names 'os\.system': only networks of hybrid_attention"),
        ("hybrid_attention.networks.pretrained.torch.load", {"f": "x"}, "only networks of"),
        ("hybrid_attention.networks.torch", {"f": "x"}, "only networks of"),
        ("hybrid_attention.networks.blocks.convolutions.conv_group_norm", {}, "only networks of"),
        ("hybrid_attention.networks.lesion_logit", {"output": 1}, "only networks of"),
        ("hybrid_attention.networks.with_group_norm", {"network": {"_target_": "os.system"}}, r"names 'os\.system'"),
        ("hybrid_attention.networks.PlainUNet", {"_mode_": "debug"}, "uses '_mode_'"),
        ("hybrid_attention.networks.PlainUNet", {"depth": "$__import__('os').getpid()"}, "contains the expression"),
        ("hybrid_attention.networks.PlainUNet", {"depth": "@depth"}, "contains the expression '@depth'"),
        ("hybrid_attention.networks.PlainUNet", {"x": [{"_target_": "builtins.exec"}]}, "names 'builtins"),
    ],
)
def test_a_record_executes_nothing(target, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        trained_network(recorded(tmp_path, {"_target_": target, **arguments}), PlainUNet())
