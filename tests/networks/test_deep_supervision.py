import pytest
import torch
from hybrid_attention.networks import DeepSupervision, HybridAttentionNet
from monai.losses import DeepSupervisionLoss, DiceLoss
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.coarse = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.head = nn.ConvTranspose2d(4, 1, 2, stride=2)

    def forward(self, x):
        return self.head(self.coarse(x))


def test_own_logits_first_then_one_map_a_layer():
    network = Tiny()
    x = torch.rand(2, 1, 8, 12)
    outputs = DeepSupervision(network, {"coarse": 4})(x)
    assert [tuple(output.shape) for output in outputs] == [(2, 1, 8, 12), (2, 1, 4, 6)]
    assert torch.equal(outputs[0], network(x))
    assert (outputs[1] == 0).all()  # new heads know nothing


def test_the_loss_reaches_heads_and_features():
    network = Tiny()
    nn.init.zeros_(network.head.weight)  # no gradient through the network's own head
    supervised = DeepSupervision(network, {"coarse": 4})
    nn.init.ones_(supervised.heads[0].weight)
    target = torch.zeros(2, 1, 8, 12)
    target[:, :, :4] = 1
    DeepSupervisionLoss(DiceLoss(sigmoid=True))(supervised(torch.rand(2, 1, 8, 12)), target).backward()
    assert supervised.heads[0].weight.grad.abs().sum() > 0
    assert network.coarse.weight.grad.abs().sum() > 0


def test_weights_of_the_network_keep_their_names():
    network = Tiny()
    before = set(network.state_dict())
    DeepSupervision(network, {"coarse": 4})
    assert set(network.state_dict()) == before


def test_layers_of_han_that_the_overlay_names():
    network = HybridAttentionNet()
    outputs = DeepSupervision(network, {"decoder.1": 128, "decoder.0": 256})(torch.rand(2, 3, 32, 32))
    assert [output.shape[-1] for output in outputs] == [32, 8, 4]


def test_errors():
    with pytest.raises(ValueError, match="layers must name one feature map"):
        DeepSupervision(Tiny(), {})
    with pytest.raises(AttributeError, match="fine"):
        DeepSupervision(Tiny(), {"fine": 4})
