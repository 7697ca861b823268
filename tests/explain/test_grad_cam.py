import copy

import pytest
import torch
from hybrid_attention.engines import to_memory_format
from hybrid_attention.explain import EmptyMaskError, grad_cam
from hybrid_attention.explain.grad_cam import layer_name
from hybrid_attention.networks import PlainUNet
from monai.data import MetaTensor
from monai.networks.nets import DenseNet121
from monai.visualize import GradCAM
from torch import nn
from torch.testing import assert_close


class Squares(nn.Sequential):
    """Features A1 = x and A2 = x transposed; logit A1² - 4 A2."""

    def forward(self, x):
        y = self[0](torch.cat([x, x.transpose(2, 3)], dim=1))
        return y[:, :1] ** 2 - 4 * y[:, 1:]


def test_hand_calculation():
    """The logits of x = (1 2; 3 4) are (1-4, 4-12; 9-8, 16-16) = (-3, -8; 1, 0)."""
    x = torch.tensor([[[[1.0, 2], [3, 4]]]])
    # the predicted mask is the 3 alone: ds/dA1 is 6 there, ds/dA2 is -4, so that over four positions the weights are
    # 1.5 and -1, and the map is relu(1.5 * (1 2; 3 4) - (1 3; 2 4)) = (0.5, 0; 2.5, 2)
    net = Squares(nn.Identity())
    assert_close(grad_cam(net, x, "0"), torch.tensor([[[[0.2, 0], [1, 0.8]]]]))
    # a mask of the upper row: ds/dA1 is 2 * (1, 2) / 2, ds/dA2 is -4 / 2 at two positions: the weights are 0.75 and -1,
    # and the map is relu((0.75 1.5; 2.25 3) - (1 3; 2 4)) = (0, 0; 0.25, 0)
    mask = torch.tensor([[[[1.0, 1], [0, 0]]]])
    assert_close(grad_cam(net, x, "0", mask=mask), torch.tensor([[[[0.0, 0], [1, 0]]]]))
    # coarse features: the mean of each half of a line of four, interpolated linearly: a, 3a/4 + b/4, a/4 + 3b/4, b
    net = nn.Sequential(nn.AvgPool2d((2, 1)), nn.Upsample(scale_factor=(2, 1)))
    x, mask = torch.tensor([0.0, 2, 3, 5]).view(1, 1, 4, 1), torch.ones(1, 1, 4, 1)
    assert_close(grad_cam(net, x, "0", mask=mask).flatten() * 4, torch.tensor([1, 1.75, 3.25, 4]))
    # a feature that lowers the score gives a map of zeros
    net = nn.Sequential(nn.Identity(), nn.Conv2d(1, 1, kernel_size=1, bias=False))
    net[1].weight.data.fill_(-1.0)
    assert torch.equal(grad_cam(net, x, "0", mask=mask), 0 * x)


def test_mask_and_classes_of_one_network(channels):
    x = torch.zeros(1, 2, 4, 4)
    x[0, 0, 0, 1], x[0, 1, 3, 2] = 2, 1
    first, second = (grad_cam(channels, x, "features", output="classes", class_index=index) for index in (0, 1))
    assert first.nonzero().tolist() == [[0, 0, 0, 1]] and second.nonzero().tolist() == [[0, 0, 3, 2]]
    assert torch.equal(grad_cam(channels, x, "features", output="classes"), first)  # the class of the larger mean
    assert torch.equal(grad_cam(channels, x, "features", output=lambda both: both.classes), first)
    both = grad_cam(channels, x.repeat(2, 1, 1, 1), "features", output="classes", class_index=[1, 0])
    assert torch.equal(both, torch.cat([second, first]))
    assert grad_cam(channels, x, "features", output="mask").nonzero().tolist() == [[0, 0, 0, 1]]
    # an operation in place after the layer changes nothing
    x = torch.randn(1, 2, 4, 4)
    heat = grad_cam(channels, x, "features", output="classes", class_index=0)
    assert_close(heat[0, 0], x[0, 0].clamp(min=0) / x[0, 0].max())
    assert channels.relu.inplace


def test_equals_monai_for_class_logits():
    torch.manual_seed(0)
    net = DenseNet121(spatial_dims=2, in_channels=1, out_channels=3).eval()
    x, layer = torch.rand(2, 1, 64, 64), "features.denseblock3"
    heat = grad_cam(net, x, layer, class_index=2)
    raw = GradCAM(net, target_layers=layer, postprocessing=lambda heat: heat)(x, class_idx=2).detach()
    assert_close(heat, raw / raw.amax(dim=(1, 2, 3), keepdim=True))


def test_volumes():
    torch.manual_seed(0)
    network, mask = PlainUNet(spatial_dims=3, channels=(4, 8)), torch.ones(1, 1, 6, 8, 10)
    heat = grad_cam(network, torch.rand(1, 3, 6, 8, 10), mask=mask)
    assert heat.shape == mask.shape and heat.dtype == torch.float32 and not heat.requires_grad
    assert heat.min() >= 0 and heat.max() == 1


def test_the_network_is_left_unchanged(bright, images):
    bright.train().first[1].eval()
    bright.first[0].requires_grad_(False)
    bright.first[1].weight.grad = torch.full((1,), 7.0)
    modes, x = [part.training for part in bright.modules()], images.clone()
    state = copy.deepcopy(bright.state_dict())
    grad_cam(bright, x)
    with pytest.raises(EmptyMaskError):
        grad_cam(bright, x, mask=torch.zeros(2, 1, 32, 32))
    with pytest.raises(RuntimeError, match="to have 1 channels"):
        grad_cam(bright, torch.cat([x, x], dim=1))
    assert [part.training for part in bright.modules()] == modes
    assert not any(part._forward_hooks or part._backward_hooks for part in bright.modules())
    assert all(torch.equal(value, state[name]) for name, value in bright.state_dict().items())
    weight, scale, shift = bright.parameters()
    assert weight.grad is None and scale.grad == 7 and shift.grad is None
    assert not weight.requires_grad and scale.requires_grad
    assert torch.equal(x, images) and not x.requires_grad


def test_batch_context_layout_and_precision_change_nothing(bright, images):
    expected = grad_cam(bright, images)
    assert_close(torch.cat([grad_cam(bright, image[None]) for image in images]), expected)
    net = to_memory_format(copy.deepcopy(bright), channels_last=True).train().requires_grad_(False)
    x = MetaTensor(images).contiguous(memory_format=torch.channels_last)
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with context:
            heat = grad_cam(net, x.clone())
        assert type(heat) is torch.Tensor
        assert_close(heat, expected)
    assert_close(grad_cam(copy.deepcopy(bright).to(torch.bfloat16), images), expected, atol=0.1, rtol=0)


X, ONES = torch.rand(2, 2, 8, 8), torch.ones(2, 1, 8, 8)
NET = PlainUNet(in_channels=2, channels=(2, 4, 8))
ONE_EMPTY = torch.cat([ONES[:1], 0 * ONES[:1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "encode.1", "mask": ONES}, r"PlainUNet .*'encode\.1'; it has: encoder\.1, "),
        ({"layer": "pool", "mask": ONES}, r"'pool' \(MaxPool2d\) runs 2 times"),
        ({"mask": torch.ones(2, 8, 8)}, r"\(2, 1, 8, 8\), got \(2, 8, 8\)"),
        ({"mask": ONES, "class_index": 0}, r"got shape \(2, 1, 8, 8\) and class_index 0"),
        ({"mask": ONES, "output": "mask"}, "no field 'mask'; it has no fields"),
        ({"mask": ONES, "output": lambda logits: logits.repeat(1, 3, 1, 1)}, r"got shape \(2, 3, 8, 8\)"),
        ({"mask": ONES, "output": lambda logits: logits / 0}, "finite"),
        ({"mask": ONE_EMPTY}, "image 1 is empty"),
        ({"output": lambda logits: logits - 1e6}, "image 0, 1 is empty"),
    ],
)
def test_bad_arguments_for_a_mask(arguments, message):
    with pytest.raises(EmptyMaskError if "empty" in message else ValueError, match=message):
        grad_cam(NET, X, **arguments)


def test_bad_arguments_for_classes_and_networks_without_layer(channels):
    for arguments, message in (
        ({"output": None}, "returns a Both"),
        ({"output": "class"}, "no field 'class'; it has mask, classes"),
        ({"mask": ONES}, r"got shape \(2, 2\) and a mask"),
        ({"layer": "unused"}, "does not depend on layer 'unused'"),
        ({"layer": "pool"}, r"'pool' \(AdaptiveAvgPool2d\).*got shape \(2, 2, 1, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            grad_cam(channels, X, **{"layer": "features", "output": "classes", **arguments})
    with pytest.raises(ValueError, match="scripted"):
        grad_cam(torch.jit.script(PlainUNet(channels=(2, 4))), torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"Channels has no gradcam_layer.* features, relu"):
        layer_name(channels)
