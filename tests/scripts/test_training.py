import json
import sys

import pytest
from torch import nn

from tests.scripts.load import load_script

SETTINGS = {"image_size": 32, "batch_size": 2, "precision": "bf16", "channels_last": True}


@pytest.fixture(scope="module")
def script():
    return load_script("benchmarks/training")


def test_size_of_one_convolution(script):
    # 4 filters of 27 weights and a bias; at each of 64 pixels 4 x 27 multiplications with their additions
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    network.in_channels = 3
    assert script.size(lambda: network, 8) == {"parameters": 4 * 28, "flops": 2 * 64 * 4 * 27}


def test_existing_measurements_are_kept(script, tmp_path, monkeypatch):
    out = tmp_path / "costs.json"

    def main(*more):
        words = f"training.py networks --networks MTL-OCA --out {out} --image_size 32 --batch_size 2".split()
        monkeypatch.setattr(sys, "argv", [*words, *more])
        script.main()

    main("--measure", "memory")
    # weights, gradients and AdamW's two averages, in float32
    memory = json.loads(out.read_text())["rows"]["MTL-OCA"]["memory"]
    parameters = json.loads(script.OUT.read_text())["rows"]["MTL-OCA"]["size"]["parameters"]
    assert memory["training_memory_gib"] > 4 * 4 * parameters / 2**30
    measured = []
    monkeypatch.setattr(script, "alone", lambda name, what: measured.append(what) or {what: 7})
    for more in ([], [], ["--measure", "speed"]):
        main(*more)
    assert measured == ["size", "speed", "speed"]
    rows = json.loads(out.read_text())["rows"]
    assert rows == {"MTL-OCA": {"memory": memory, "size": {"size": 7}, "speed": {"speed": 7}}}
    with pytest.raises(ValueError, match="choose another --out"):
        script.read(out, {**SETTINGS, "image_size": 64})


def test_stages_of_a_bundle(script, phantoms):
    changes = {"image_size": 32, "batch_size": 4, "precision": "fp32", "channels_last": False}
    row = script.bundle_costs("HAN", "hybrid", changes, steps=1, dataset_dir=str(phantoms))
    assert {name: row[name] for name in changes} == changes
    assert set(row["seconds"]) == {"data", "forward", "backward", "optimizer"} and min(row["seconds"].values()) > 0


def test_committed_file_holds_every_network(script):
    rows = json.loads(script.OUT.read_text())["rows"]
    assert list(rows) == list(script.NETWORKS)
    for name in ("HAN", "MTL-OCA", "FlexibleUNet, EfficientNet-B0"):
        net = script.NETWORKS[name]()
        assert rows[name]["size"]["parameters"] == sum(weight.numel() for weight in net.parameters())
