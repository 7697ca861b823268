"""Grad-CAM against hand calculation, against MONAI's, and on every network."""

import copy

import pytest
import torch
from hybrid_attention.engines import to_memory_format
from hybrid_attention.explain import NothingMarkedError, grad_cam
from hybrid_attention.networks import HybridAttentionNet, PlainUNet, TripleEncoderUNet
from monai.data import MetaTensor
from monai.networks.nets import DenseNet121
from monai.visualize import GradCAM
from torch import nn


class Squares(nn.Module):
    """Features A1 = x and A2 = x transposed; logit A1² - 4 A2."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()

    def forward(self, x):
        y = self.features(torch.cat([x, x.transpose(2, 3)], dim=1))
        return y[:, :1] ** 2 - 4 * y[:, 1:]


def test_hand_calculation():
    """The logits of x = (1 2; 3 4) are (1-4, 4-12; 9-8, 16-16) = (-3, -8; 1, 0)."""
    x = torch.tensor([[[[1.0, 2], [3, 4]]]])
    # the predicted mask is the 3 alone: ds/dA1 is 6 there, ds/dA2 is -4, so that over four positions the weights are
    # 1.5 and -1, and the map is relu(1.5 * (1 2; 3 4) - (1 3; 2 4)) = (0.5, 0; 2.5, 2)
    expected = torch.tensor([[[[0.2, 0], [1, 0.8]]]])
    torch.testing.assert_close(grad_cam(Squares(), x, "features"), expected)
    # a mask of the upper row: ds/dA1 is 2 * (1, 2) / 2, ds/dA2 is -4 / 2 at two positions: the weights are 0.75 and -1,
    # and the map is relu((0.75 1.5; 2.25 3) - (1 3; 2 4)) = (0, 0; 0.25, 0)
    mask = torch.tensor([[[[1.0, 1], [0, 0]]]])
    expected = torch.tensor([[[[0.0, 0], [1, 0]]]])
    torch.testing.assert_close(grad_cam(Squares(), x, "features", mask=mask), expected)


def test_coarse_features_are_interpolated_to_the_image():
    """Mean of each half of a line of four, interpolated linearly: a, 3a/4 + b/4, a/4 + 3b/4, b."""
    net = nn.Sequential(nn.AvgPool2d((2, 1)), nn.Upsample(scale_factor=(2, 1)))
    x = torch.tensor([[0.0, 2, 3, 5]]).view(1, 1, 4, 1)
    heat = grad_cam(net, x, "0", mask=torch.ones(1, 1, 4, 1))
    torch.testing.assert_close(heat.flatten() * 4, torch.tensor([1, 1.75, 3.25, 4]))


def test_a_class_is_explained_by_its_own_channel(channels):
    x = torch.zeros(1, 2, 4, 4)
    x[0, 0, 0, 1], x[0, 1, 3, 2] = 2, 1
    first = grad_cam(channels, x, "features", output="classes", class_index=0)
    second = grad_cam(channels, x, "features", output="classes", class_index=1)
    assert first.nonzero().tolist() == [[0, 0, 0, 1]]
    assert second.nonzero().tolist() == [[0, 0, 3, 2]]
    assert torch.equal(grad_cam(channels, x, "features", output="classes"), first)  # the class of the larger mean
    assert torch.equal(grad_cam(channels, x, "features", output=lambda both: both.classes), first)
    both = grad_cam(channels, x.repeat(2, 1, 1, 1), "features", output="classes", class_index=[1, 0])
    assert torch.equal(both, torch.cat([second, first]))


def test_the_mask_of_a_network_with_classes(channels):
    x = torch.zeros(1, 2, 4, 4)
    x[0, 0, 0, 1], x[0, 1, 3, 2] = 2, 5
    assert grad_cam(channels, x, "features", output="mask").nonzero().tolist() == [[0, 0, 0, 1]]


def test_an_operation_in_place_behind_the_layer_changes_nothing(channels):
    x = torch.randn(1, 2, 4, 4)
    expected = copy.deepcopy(channels)
    expected.relu.inplace = False
    options = {"layer": "features", "output": "classes", "class_index": 0}
    heat = grad_cam(channels, x, **options)
    assert torch.equal(heat, grad_cam(expected, x, **options))
    torch.testing.assert_close(heat[0, 0], x[0, 0].clamp(min=0) / x[0, 0].max())
    assert channels.relu.inplace


def test_gradients_of_any_layout():
    """Behind a transposition the gradient lies transposed in memory."""

    class Turned(Squares):
        def forward(self, x):
            return self.features(x).transpose(2, 3).square()

    x = torch.rand(1, 1, 3, 4)
    torch.testing.assert_close(grad_cam(Turned(), x, "features", mask=torch.ones(1, 1, 4, 3)), x / x.max())


def test_equals_monai_for_class_logits():
    torch.manual_seed(0)
    net = DenseNet121(spatial_dims=2, in_channels=1, out_channels=3).eval()
    x, layer = torch.rand(2, 1, 64, 64), "features.denseblock3"
    heat = grad_cam(net, x, layer, class_index=2)
    raw = GradCAM(net, target_layers=layer, postprocessing=lambda heat: heat)(x, class_idx=2).detach()
    torch.testing.assert_close(heat, raw / raw.amax(dim=(1, 2, 3), keepdim=True))


NETWORKS = {
    "han": lambda: HybridAttentionNet(),
    "baseline": lambda: HybridAttentionNet(conv_block=False, sfeb=False, tam=False),
    "unet": lambda: PlainUNet(channels=(4, 8, 16)),
    "triple": lambda: TripleEncoderUNet(freeze_encoders=True),
    "triple with non-local": lambda: TripleEncoderUNet(encoders=["resnet18"], attention="non_local", skips=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_default_layer_that_can_be_explained(name):
    torch.manual_seed(0)
    net = NETWORKS[name]()
    mask = torch.zeros(2, 1, 64, 96)
    mask[:, :, 10:30, 40:70] = 1
    heat = grad_cam(net, torch.rand(2, 3, 64, 96), mask=mask)
    assert heat.shape == (2, 1, 64, 96)
    assert heat.dtype == torch.float32
    assert not heat.requires_grad
    assert heat.min() >= 0
    assert set(heat.amax(dim=(1, 2, 3)).tolist()) <= {0.0, 1.0}


def test_volumes():
    torch.manual_seed(0)
    net = PlainUNet(spatial_dims=3, in_channels=1, channels=(4, 8))
    heat = grad_cam(net, torch.rand(1, 1, 6, 8, 10), mask=torch.ones(1, 1, 6, 8, 10))
    assert heat.shape == (1, 1, 6, 8, 10)
    assert heat.max() == 1


def test_batch_equals_single_images(trained):
    together = grad_cam(trained.net, trained.images)
    single = torch.cat([grad_cam(trained.net, image[None]) for image in trained.images])
    torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-4)


def test_a_map_of_zeros_stays_zero(caplog):
    net = nn.Sequential(nn.Identity(), nn.Conv2d(1, 1, kernel_size=1, bias=False))
    net[1].weight.data.fill_(-1.0)  # the feature speaks against the region
    with caplog.at_level("INFO"):
        heat = grad_cam(net, torch.rand(1, 1, 4, 4), "0", mask=torch.ones(1, 1, 4, 4))
    assert torch.equal(heat, torch.zeros(1, 1, 4, 4))
    assert "0 everywhere: nothing in 0 speaks for it" in caplog.text


def test_the_network_is_left_as_it_was(trained):
    net = copy.deepcopy(trained.net).train()
    net.deep[1].eval()
    net.first.requires_grad_(False)
    net.head.weight.grad = torch.full_like(net.head.weight, 7.0)
    modes = [part.training for part in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    x = trained.images.clone()
    grad_cam(net, x)
    with pytest.raises(NothingMarkedError):
        grad_cam(net, x, mask=torch.zeros(6, 1, 32, 32))
    with pytest.raises(RuntimeError, match="to have 1 channels"):
        grad_cam(net, torch.cat([x, x], dim=1))
    assert [part.training for part in net.modules()] == modes
    assert not any(part._forward_hooks or part._backward_hooks or part._forward_pre_hooks for part in net.modules())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["head.weight"]
    assert torch.all(net.head.weight.grad == 7)
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == [
        name for name, _ in net.named_parameters() if name.startswith("first.")
    ]
    assert torch.equal(x, trained.images)
    assert not x.requires_grad


def test_context_layout_and_frozen_parameters_change_nothing(trained):
    expected = grad_cam(trained.net, trained.images)
    net = to_memory_format(copy.deepcopy(trained.net), channels_last=True).train().requires_grad_(False)
    x = MetaTensor(trained.images).contiguous(memory_format=torch.channels_last)
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with context:
            heat = grad_cam(net, x.clone())
        assert type(heat) is torch.Tensor
        torch.testing.assert_close(heat, expected, atol=1e-4, rtol=1e-3)


def test_weights_in_bf16(trained):
    net = copy.deepcopy(trained.net).to(torch.bfloat16)
    heat = grad_cam(net, trained.images, mask=trained.truth)
    assert heat.dtype == torch.float32
    torch.testing.assert_close(heat, grad_cam(trained.net, trained.images, mask=trained.truth), atol=0.1, rtol=0)
