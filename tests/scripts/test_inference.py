import json
import sys

import pytest
import torch
from torch import nn

from tests.scripts.load import load_script

pytest.importorskip("openvino", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


@pytest.fixture
def script():
    return load_script("benchmarks/inference")


def test_ratio_is_taken_within_each_round(script, monkeypatch):
    order = []
    monkeypatch.setattr(script, "WARM_UP", 1)
    seconds = script.rounds({"a": lambda batch: order.append("a"), "b": lambda batch: order.append("b")}, None, 2)
    assert order == ["a", "b"] * 3 and [len(found) for found in seconds.values()] == [2, 2]
    # the machine is half as fast in the last two rounds; the variant takes half of eager's time in each
    found = script.timing([1.0, 1.0, 1.0, 2.0, 2.0], [2.0, 2.0, 2.0, 4.0, 4.0])
    assert found == {"milliseconds": 1000.0, "lower_quartile": 1000.0, "upper_quartile": 2000.0, "ratio": 2.0}
    # ratios of 4, 1 and 1.5; the medians of all rounds, 4 and 2, would say 2
    assert script.timing([1.0, 4.0, 2.0], [4.0, 4.0, 3.0])["ratio"] == 1.5


def test_quality_of_four_pixels(script):
    eager = torch.tensor([[[[2.0, 1.0], [-1.0, -2.0]]], [[[-1.0, -1.0], [-1.0, 1.0]]]])
    own = eager.clone()
    own[0, 0, 0, 1] = -0.5  # one pixel of eight, by 1.5
    masks = torch.tensor([[[[1, 1], [0, 0]]], [[[0, 0], [0, 0]]]]) > 0
    found = script.quality(own, eager, masks)
    # Dice of the first image: 1 with eager, 2 * 1 / (1 + 2) now; the second has no lesion and counts for nothing
    assert found == {"largest_difference": 1.5, "equal_pixels": 0.875, "dice": 0.66667, "dice_change": -0.33333}


def test_every_variant_computes_the_network(script, tmp_path, monkeypatch, phantoms):
    def fail(*words, **options):
        raise RuntimeError("no compiler\nmore")

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    out = tmp_path / "benchmark.json"
    words = ["inference.py", "--networks", "any", "residual U-Net", "--image_size", "64", "--threads", "1"]
    words += ["--dataset_dir", str(phantoms), "--images", "2", "--repeats", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(torch, "compile", fail)
    network_of = script.network_of
    monkeypatch.setattr(script, "network_of", lambda name: (net, "hybrid", True) if name == "any" else network_of(name))
    before = torch.get_num_threads()
    try:
        script.main()
    finally:
        torch.set_num_threads(before)
    written, count = json.loads(out.read_text()), len(script.VARIANTS)
    trained, untrained = written["rows"][:count], written["rows"][count:]
    assert {row["variant"] for row in trained} == {row["variant"] for row in untrained} == set(script.VARIANTS)
    assert not any("dice" in row for row in untrained)
    for row in trained:
        name = row["variant"]
        if name == "torch.compile":
            assert row["failure"] == "RuntimeError: no compiler"
        elif "bf16" in name and not script.has_bf16():
            assert "does not compute in bf16" in row["failure"]
        else:
            low = "bf16" in name or "int8" in name
            assert (1e-5 if low else 0) <= row["largest_difference"] < (0.05 if low else 1e-5), name
            assert row["equal_pixels"] > 0.9 and (row["ratio"] == 1 or name != "eager")
    assert written["provenance"]["threads"] == 1 and "openvino" in written["provenance"]["versions"]
    assert out.with_suffix(".csv").read_text().startswith("network,variant,batch_size")
