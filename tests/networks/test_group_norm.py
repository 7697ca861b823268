import pytest
import torch
from hybrid_attention.networks import with_group_norm
from hybrid_attention.networks.baselines import flexible_unet
from torch import nn


def test_whole_network_does_without_batch_norm():
    plain = flexible_unet()
    norms = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    network = with_group_norm(flexible_unet())
    groups = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert not [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert [(one.num_channels, one.eps) for one in groups] == [(one.num_features, one.eps) for one in norms]
    assert sum(w.numel() for w in network.parameters()) == sum(w.numel() for w in plain.parameters())
    assert network.gradcam_layer == plain.gradcam_layer


def test_one_image_gives_what_it_gives_in_a_batch():
    torch.manual_seed(0)
    network = with_group_norm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=0.5)), groups=2).train()
    images = torch.rand(4, 3, 9, 9)
    torch.testing.assert_close(network(images)[:1], network(images[:1]))
    features = network[0](images)
    grouped = features.reshape(4, 2, -1)
    expected = (grouped - grouped.mean(-1, keepdim=True)) / (grouped.var(-1, unbiased=False, keepdim=True) + 0.5).sqrt()
    torch.testing.assert_close(network(images), expected.reshape(features.shape))


def test_what_can_not_be_replaced_is_said():
    with pytest.raises(ValueError, match="Conv2d has no batch norm"):
        with_group_norm(nn.Conv2d(3, 8, 3))
    network = nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(12))
    with pytest.raises(ValueError, match="1 has 12 channels, which 8 groups do not divide"):
        with_group_norm(network)
    assert isinstance(network[0], nn.BatchNorm2d), "changed although it was refused"
