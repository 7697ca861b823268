import pytest
import torch
from hybrid_attention.networks import DeepAttentionUNet, HybridAttentionNet, MultiTaskOCANet, TripleEncoderUNet

from tests.scripts.load import load_script

NETWORKS = {
    "han": lambda: HybridAttentionNet(2, 3, 1),
    "attention_unet": lambda: DeepAttentionUNet(2, 1, 1),
    "mtl_oca": lambda: MultiTaskOCANet(in_channels=2, num_classes=3),
    "triple_encoder": lambda: TripleEncoderUNet(),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_output_of_transposed_images(name):
    torch.manual_seed(0)
    old, new = (NETWORKS[name]().double().eval() for _ in range(2))
    for parameter in old.parameters():  # no symmetric start, no zeros
        parameter.data += 0.01 * torch.randn_like(parameter)
    new.load_state_dict(load_script("transpose_weights").transpose_weights(old.state_dict()))
    channels = {"han": 3, "attention_unet": 1, "mtl_oca": 2, "triple_encoder": 3}[name]
    x = torch.rand(2, channels, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        before, after = old(x), new(x.transpose(2, 3))
    if not torch.is_tensor(before):
        torch.testing.assert_close(after.class_logits, before.class_logits)
        before, after = before.mask, after.mask
    torch.testing.assert_close(after.transpose(2, 3), before)
    assert before.std() > 1e-6  # of something
