import json

import pytest
import torch
from torch import nn

from hybrid_attention.engines import save_weights, trained_network
from hybrid_attention.engines.weight_files import weights_digest
from hybrid_attention.networks import PlainUNet


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


def test_nested_network_of_another_trusted_library(recorded):
    unet = {"_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 1}
    inner = {**unet, "channels": [4, 8], "strides": [2]}
    assert type(trained_network(recorded(inner), nn.Identity())).__name__ == "UNet"


def test_default_where_there_is_no_record(tmp_path):
    default = nn.Identity()
    assert trained_network(tmp_path / "model.pt", default) is default


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"_target_": "os.system", "command": "touch evil"}, r"names 'os\.system': only hybrid_attention\.networks"),
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
