import json

import pytest
import torch
from hybrid_attention.engines import find_weights, load_initial_weights
from hybrid_attention.engines.bundles import bundle_folder
from hybrid_attention.engines.run_record import read_record
from hybrid_attention.networks import HybridMultiTaskNet

from tests.scripts.load import load_script


def test_weights_to_start_from_know_what_the_masks_were_learned_from(tmp_path):
    start = load_script("start_multi_task").start_multi_task
    path = start(bundle_folder("hybrid"), tmp_path)
    network = load_initial_weights(HybridMultiTaskNet(in_channels=2), path)
    assert network.network.head.weight[0].abs().max() == 0
    assert network.network.encoder.stages[0].conv0.weight[:, 1].abs().max() == 0
    record, before = read_record(path), read_record(find_weights(bundle_folder("hybrid")))
    assert record["images"] == before["images"]
    assert record["recipe"] == {}
    assert torch.equal(torch.load(path)["network.head.weight"][1], network.network.head.weight[1])


def test_weights_without_a_record(tmp_path):
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match="has no record of its training"):
        load_script("start_multi_task").start_multi_task(tmp_path, tmp_path / "out")
    (tmp_path / "training.json").write_text(json.dumps({"weights_sha256": "other"}))
    with pytest.raises(FileNotFoundError, match="has no record of its training"):
        load_script("start_multi_task").start_multi_task(tmp_path, tmp_path / "out")
