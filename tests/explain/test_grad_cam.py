"""Grad-CAM against hand calculation and MONAI's, on every network; does it depend on what the network has learned?"""

import copy

import numpy as np
import pytest
import torch
from hybrid_attention.engines import to_memory_format
from hybrid_attention.explain import EmptyMaskError, grad_cam
from hybrid_attention.explain.grad_cam import layer_name
from hybrid_attention.networks import HybridAttentionNet, PlainUNet, TripleEncoderUNet
from monai.data import MetaTensor
from monai.networks.nets import DenseNet121
from monai.visualize import GradCAM
from scipy.stats import spearmanr
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


def test_mask_and_classes_of_one_network(channels):
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
    assert grad_cam(channels, x, "features", output="mask").nonzero().tolist() == [[0, 0, 0, 1]]


def test_an_operation_in_place_after_the_layer_changes_nothing(channels):
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
    "triple": lambda: TripleEncoderUNet(freeze_encoders=True, encoder_weights="random"),
    "triple with non-local": lambda: TripleEncoderUNet(encoders=["resnet18"], attention="non_local", skips=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_default_layer(name):
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


def test_a_map_of_zeros_stays_zero():
    net = nn.Sequential(nn.Identity(), nn.Conv2d(1, 1, kernel_size=1, bias=False))
    net[1].weight.data.fill_(-1.0)  # the feature lowers the score
    heat = grad_cam(net, torch.rand(1, 1, 4, 4), "0", mask=torch.ones(1, 1, 4, 4))
    assert torch.equal(heat, torch.zeros(1, 1, 4, 4))


def test_the_network_is_left_unchanged(trained):
    net = copy.deepcopy(trained.net).train()
    net.deep[1].eval()
    net.first.requires_grad_(False)
    net.head.weight.grad = torch.full_like(net.head.weight, 7.0)
    modes = [part.training for part in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    x = trained.images.clone()
    grad_cam(net, x)
    with pytest.raises(EmptyMaskError):
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


def test_batch_context_layout_and_precision_change_nothing(trained):
    expected = grad_cam(trained.net, trained.images)
    single = torch.cat([grad_cam(trained.net, image[None]) for image in trained.images])
    torch.testing.assert_close(single, expected, atol=1e-5, rtol=1e-4)
    net = to_memory_format(copy.deepcopy(trained.net), channels_last=True).train().requires_grad_(False)
    x = MetaTensor(trained.images).contiguous(memory_format=torch.channels_last)
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with context:
            heat = grad_cam(net, x.clone())
        assert type(heat) is torch.Tensor
        torch.testing.assert_close(heat, expected, atol=1e-4, rtol=1e-3)
    low = grad_cam(copy.deepcopy(trained.net).to(torch.bfloat16), trained.images, mask=trained.truth)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, grad_cam(trained.net, trained.images, mask=trained.truth), atol=0.1, rtol=0)


def rank_correlation(one, other):
    return float(spearmanr(one.flatten(), other.flatten()).statistic) if other.any() else 0.0


@pytest.mark.parametrize("randomised", [("head",), ("head", "deep"), ("head", "deep", "first")])
def test_random_parameters_change_the_map(trained, randomised):
    """J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv:1810.03292: otherwise a map explains
    the image, not the network. Over several draws, as a random head may point in the learned direction by chance.
    """
    learned = grad_cam(trained.net, trained.images, mask=trained.truth)
    alike = []
    for seed in range(5):
        torch.manual_seed(seed)
        net, fresh = copy.deepcopy(trained.net), type(trained.net)()
        for name in randomised:
            setattr(net, name, getattr(fresh, name))
        changed = grad_cam(net, trained.images, mask=trained.truth)
        alike += [abs(rank_correlation(one, other)) for one, other in zip(learned, changed, strict=True)]
    assert np.mean(alike) < 0.6


def test_the_disc_is_explained_and_not_the_square(trained):
    heat = grad_cam(trained.net, trained.images)
    near = torch.nn.functional.max_pool2d(trained.truth, 9, stride=1, padding=4)
    for map_, region in zip(heat, near, strict=True):
        assert float((map_ * region).sum() / map_.sum()) > 0.8
        assert region.mean() < 0.3


X, ONES = torch.rand(2, 2, 8, 8), torch.ones(2, 1, 8, 8)
NET = PlainUNet(in_channels=2, channels=(2, 4, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "encode.1", "mask": ONES}, r"PlainUNet .*'encode\.1'; it has: encoder\.1, "),
        ({"layer": "encoder", "mask": ONES}, r"'encoder'; it has: encoder\."),
        ({"layer": "", "mask": ONES}, "no layer ''"),
        ({"layer": "pool", "mask": ONES}, r"'pool' \(MaxPool2d\) runs 2 times"),
        ({"mask": torch.ones(2, 8, 8)}, r"\(2, 1, 8, 8\), got \(2, 8, 8\)"),
        ({"mask": ONES, "class_index": 0}, r"got shape \(2, 1, 8, 8\) and class_index 0"),
        ({"class_index": 1}, r"got shape \(2, 1, 8, 8\) and class_index 1"),
        ({"mask": ONES, "output": "mask"}, "no field 'mask'; it has no fields"),
        ({"mask": ONES, "output": lambda logits: logits[:, 0]}, r"got shape \(2, 8, 8\)"),
        ({"mask": ONES, "output": lambda logits: logits.repeat(1, 3, 1, 1)}, r"got shape \(2, 3, 8, 8\)"),
        ({"mask": ONES, "output": lambda logits: logits / 0}, "finite"),
        ({"mask": ONES, "output": lambda logits: logits.detach()}, "does not depend on layer"),
        ({"mask": ONES, "output": lambda logits: None}, "NoneType"),
    ],
)
def test_bad_arguments_for_a_mask(arguments, message):
    with pytest.raises(ValueError, match=message):
        grad_cam(NET, X, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output": None}, "returns a Both"),
        ({"output": "class"}, "no field 'class'; it has mask, classes"),
        ({"mask": ONES}, r"got shape \(2, 2\) and a mask"),
        ({"layer": "unused"}, "does not depend on layer 'unused'"),
        ({"layer": "pool"}, r"'pool' \(AdaptiveAvgPool2d\).*got shape \(2, 2, 1, 1\)"),
        ({"layer": "flat"}, r"'flat' \(Flatten\).*got shape \(2, 2\)"),
    ],
)
def test_bad_arguments_for_classes(channels, arguments, message):
    with pytest.raises(ValueError, match=message):
        grad_cam(channels, X, **{"layer": "features", "output": "classes", **arguments})


def test_other_errors(channels):
    mask = ONES.clone()
    mask[1] = 0
    with pytest.raises(EmptyMaskError, match="image 1 is empty"):
        grad_cam(NET, X, mask=mask)
    with pytest.raises(EmptyMaskError, match="image 0, 1 is empty"):
        grad_cam(NET, X, output=lambda logits: logits - 1e6)
    with pytest.raises(ValueError, match=r"'encoder' \(DenseNet121Encoder\).*got a list"):
        grad_cam(HybridAttentionNet(in_channels=2), torch.rand(1, 2, 32, 32), "encoder", mask=torch.ones(1, 1, 32, 32))
    with pytest.raises(ValueError, match="scripted"):
        grad_cam(torch.jit.script(PlainUNet(channels=(2, 4))), torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"Channels has no gradcam_layer.* features, relu"):
        layer_name(channels)
    many = nn.ModuleList(nn.Sequential(nn.ReLU()) for _ in range(40))
    with pytest.raises(ValueError, match=r"… \(80 in all\)") as caught:
        layer_name(many, "7.1")
    assert str(caught.value).count(",") == 29
