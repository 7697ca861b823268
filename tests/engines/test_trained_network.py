import json

import pytest
import torch
from hybrid_attention.engines import save_weights, trained_network
from hybrid_attention.engines.trained_network import plain_definition
from hybrid_attention.engines.weight_files import weights_digest
from hybrid_attention.networks import PlainUNet
from torch import nn


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
    network = trained_network(recorded(definition), nn.Identity(), in_channels=2)
    assert type(network).__name__ == "HybridMultiTaskNet"
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 2, 32, 32)).class_logits.shape == (1, 4)


def test_nested_networks_and_builders_of_peers(recorded):
    inner = {"_target_": "hybrid_attention.networks.MultiTaskOCANet", "channels": [16, 16], "num_classes": None}
    network = trained_network(
        recorded({"_target_": "hybrid_attention.networks.LesionLogit", "network": inner}), nn.Identity()
    )
    assert type(network.network).__name__ == "MultiTaskOCANet"
    peer = {"_target_": "hybrid_attention.networks.baselines.residual_unet", "channels": [4, 8]}
    assert isinstance(trained_network(recorded(peer), nn.Identity()), nn.Module)


def test_group_norm_in_a_network_of_the_record(recorded):
    peer = {"_target_": "hybrid_attention.networks.baselines.residual_unet", "channels": [4, 8]}
    definition = {"_target_": "hybrid_attention.networks.with_group_norm", "network": peer, "groups": 1}
    network = trained_network(recorded(definition), nn.Identity())
    assert {one.num_groups for one in network.modules() if isinstance(one, nn.GroupNorm)} == {1}


@pytest.mark.parametrize("weights", ["imagenet", "@encoder_weights", "$print()"])
def test_a_record_fetches_no_weights(weights):
    definition = {"_target_": "hybrid_attention.networks.baselines.flexible_unet", "pretrained": True}
    assert plain_definition(definition, {})["pretrained"] is False
    definition = {"_target_": "hybrid_attention.networks.HybridAttentionNet", "encoder_weights": weights}
    assert plain_definition(definition, {})["encoder_weights"] is None


def test_default_where_there_is_no_record(tmp_path):
    default = nn.Identity()
    assert trained_network(tmp_path / "model.pt", default) is default


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"_target_": "os.system", "command": "touch evil"}, r"names 'os\.system': only networks of hybrid_attention"),
        ({"_target_": "hybrid_attention.networks.weights.torch.os.system", "command": "x"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.weights.torch.load", "f": "x"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.torch", "f": "x"}, "only networks of"),
        ({"_target_": "monai.networks.nets.UNet"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.blocks.group_norm.with_group_norm"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.blocks.group_norm.conv_group_norm"}, "only networks of"),
        ({"_target_": "hybrid_attention.networks.lesion_logit", "output": 1}, "only networks of"),
        (
            {"_target_": "hybrid_attention.networks.with_group_norm", "network": {"_target_": "os.system"}},
            r"names 'os\.system'",
        ),
        ({"_target_": "hybrid_attention.networks.with_group_norm", "network": "$print()"}, "asks to evaluate"),
        ({"_target_": "hybrid_attention.networks.PlainUNet", "_mode_": "debug"}, "asks for '_mode_'"),
        (
            {"_target_": "hybrid_attention.networks.PlainUNet", "depth": "$__import__('os').getpid()"},
            "asks to evaluate",
        ),
        ({"_target_": "hybrid_attention.networks.PlainUNet", "depth": "@depth"}, "asks to evaluate '@depth'"),
        ({"_target_": "hybrid_attention.networks.PlainUNet", "x": [{"_target_": "builtins.exec"}]}, "names 'builtins"),
    ],
)
def test_a_record_executes_nothing(definition, message, recorded):
    with pytest.raises(ValueError, match=message):
        trained_network(recorded(definition), PlainUNet())
