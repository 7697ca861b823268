import json

import pytest
import torch
from hybrid_attention import networks
from hybrid_attention.engines import find_weights, load_initial_weights
from hybrid_attention.engines.bundles import bundle_folder
from hybrid_attention.engines.training_record import read_record

from tests.scripts.load import load_script


@pytest.fixture
def script():
    return load_script("weights")


def test_weights_to_start_from_know_what_the_masks_were_learned_from(script, tmp_path):
    path = script.start_multi_task(bundle_folder("hybrid"), tmp_path)
    network = load_initial_weights(networks.HybridMultiTaskNet(in_channels=2), path)
    assert network.network.head.weight[0].abs().max() == 0
    assert network.network.encoder.stages[0].conv0.weight[:, 1].abs().max() == 0
    record, before = read_record(path), read_record(find_weights(bundle_folder("hybrid")))
    assert record["images"] == before["images"] and record["recipe"] == {}
    path.with_name("training.json").write_text(json.dumps({"weights_sha256": "other"}))
    with pytest.raises(FileNotFoundError, match="has no record of its training"):
        script.start_multi_task(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        (lambda: networks.HybridAttentionNet(2, 3, 1), 3),
        (lambda: networks.DeepAttentionUNet(2, 1, 1), 1),
        (lambda: networks.MultiTaskOCANet(in_channels=2, num_classes=3), 2),
        (networks.TripleEncoderUNet, 3),
    ],
)
def test_output_of_transposed_images(script, network, channels):
    torch.manual_seed(0)
    old, new = (network().double().eval() for _ in range(2))
    for parameter in old.parameters():  # no symmetric start, no zeros
        parameter.data += 0.01 * torch.randn_like(parameter)
    new.load_state_dict(script.transpose(old.state_dict()))
    x = torch.rand(2, channels, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        before, after = old(x), new(x.transpose(2, 3))
    if not torch.is_tensor(before):
        torch.testing.assert_close(after.class_logits, before.class_logits)
        before, after = before.mask, after.mask
    torch.testing.assert_close(after.transpose(2, 3), before)
    assert before.std() > 1e-6  # of something
