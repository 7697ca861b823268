import pytest
import torch
from hybrid_attention.networks import DeepSupervision, HybridAttentionNet
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.coarse = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.head = nn.ConvTranspose2d(4, 1, 2, stride=2)

    def forward(self, x):
        return self.head(self.coarse(x))


def test_deep_supervision_gives_own_logits_first_then_one_map_per_layer():
    network = Tiny()
    names = set(network.state_dict())
    x = torch.rand(2, 1, 8, 12)
    outputs = DeepSupervision(network, {"coarse": 4})(x)
    assert [tuple(output.shape) for output in outputs] == [(2, 1, 8, 12), (2, 1, 4, 6)]
    assert torch.equal(outputs[0], network(x))
    assert (outputs[1] == 0).all()  # new heads know nothing
    assert set(network.state_dict()) == names


def test_layers_of_han_that_the_overlay_of_deep_supervision_names():
    network = HybridAttentionNet()
    supervised = DeepSupervision(network, {"decoder.1": 128, "decoder.0": 256})
    nn.init.ones_(supervised.heads[0].weight)
    outputs = supervised(torch.rand(2, 3, 32, 32))
    assert [output.shape[-1] for output in outputs] == [32, 8, 4]
    outputs[1].sum().backward()
    assert all(network.get_submodule(name).weight.grad is None for name in ("head", "final.conv"))
    assert network.encoder.stages[0].conv0.weight.grad.abs().max() > 0


@pytest.mark.parametrize(("layers", "error", "message"), [({}, ValueError, "layers"), ({"x": 4}, AttributeError, "x")])
def test_layers_that_deep_supervision_cannot_use(layers, error, message):
    with pytest.raises(error, match=message):
        DeepSupervision(Tiny(), layers)
