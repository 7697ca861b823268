import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from tests.scripts.load import load_script

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"image_size": 32, "batch_size": 2, "precision": "bf16", "channels_last": True}


@pytest.fixture(scope="module")
def script():
    return load_script("benchmarks/network_costs")


class OneConvolution(nn.Module):
    in_channels = 3

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x).relu()


def test_size_of_one_convolution(script):
    # 4 filters of 27 weights and a bias; at each of 64 pixels 4 x 27 multiplications with their additions
    assert script.size(OneConvolution, 8) == {"parameters": 4 * 28, "flops": 2 * 64 * 4 * 27}


@pytest.mark.parametrize("name", ["HAN", "MTL-OCA", "U-Net++", "nnU-Net, 6 stages"])
def test_network_takes_training_steps(script, name):
    seconds = script.training_steps(script.NETWORKS[name], 48, {**SETTINGS, "image_size": 48}, steps=1)
    assert len(seconds) == 1
    assert seconds[0] > 0


def test_existing_measurements_are_kept(script, tmp_path, monkeypatch):
    out = tmp_path / "costs.json"
    words = ["network_costs.py", "--networks", "HAN", "--out", str(out), "--image_size", "32", "--batch_size", "2"]
    monkeypatch.setattr(sys, "argv", [*words, "--measure", "memory"])
    script.main()
    (row,) = json.loads(out.read_text())["rows"].values()
    # weights, gradients and AdamW's two averages, in float32
    assert row["memory"]["training_memory_gib"] > 4 * 4 * 15_427_713 / 2**30
    ran = []

    def run(command, **options):
        ran.append(command[-2:])
        return subprocess.CompletedProcess(command, 0, 'noise\nresult:{"images_per_second": 7}\n')

    monkeypatch.setattr(script.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", [*words, "--measure", "memory", "speed"])
    script.main()
    assert ran == [["HAN", "speed"]]
    monkeypatch.setattr(sys, "argv", [*words, "--measure", "memory", "--again", "speed"])
    script.main()
    assert ran == [["HAN", "speed"], ["HAN", "speed"]]
    assert json.loads(out.read_text())["rows"]["HAN"]["speed"] == {"images_per_second": 7}


def test_other_settings_are_not_mixed(script, tmp_path):
    (tmp_path / "costs.json").write_text(json.dumps({"settings": SETTINGS, "rows": {}}))
    assert script.read(tmp_path / "costs.json", SETTINGS) == {}
    with pytest.raises(ValueError, match="choose another --out"):
        script.read(tmp_path / "costs.json", {**SETTINGS, "image_size": 64})


def test_committed_file_holds_every_network(script):
    rows = json.loads(script.OUT.read_text())["rows"]
    assert list(rows) == list(script.NETWORKS)
    for name in ("HAN", "MTL-OCA", "FlexibleUNet, EfficientNet-B0"):
        net = script.NETWORKS[name]()
        assert rows[name]["size"]["parameters"] == sum(weight.numel() for weight in net.parameters())
