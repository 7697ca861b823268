import pytest
import torch
from hybrid_attention.explain import grad_cam
from hybrid_attention.networks import (
    AsMultiTask,
    LesionLogit,
    MaskAndClasses,
    MultiTaskOutput,
    MultiTaskUNet,
    lesion_logit,
)
from torch import nn

# one image of two pixels; region logits of background and lesion
MASK = torch.tensor([[[[1.0, -2.0]], [[4.0, -7.0]]]])


class Constant(nn.Module):
    """A network whose three fields are known; class logits are the sums -1 and -3."""

    gradcam_layer = "nothing"

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        return MultiTaskOutput(mask=x, coarse_mask=x + 1, class_logits=x.flatten(2).sum(dim=2))


@pytest.mark.parametrize("regions", [2, 3, 4])
def test_sigmoid_of_the_lesion_logit_is_the_softmax_of_all_but_the_background(regions):
    mask = 3 * torch.randn(2, regions, 4, 5)
    logit = lesion_logit(MultiTaskOutput(mask, None, None))
    assert logit.shape == (2, 1, 4, 5)
    torch.testing.assert_close(logit.sigmoid(), mask.softmax(dim=1)[:, 1:].sum(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("adapt", "expected"),
    [(LesionLogit, [[[[3.0, -5.0]]]]), (MaskAndClasses, [[[[3.0, -5.0]], [[-1.0, -1.0]], [[-3.0, -3.0]]]])],
)
def test_one_tensor_by_hand(adapt, expected):
    network = adapt(Constant())
    assert network(MASK).tolist() == torch.jit.script(network)(MASK).tolist() == expected


def test_lesion_logit_names_the_layer_of_its_network_for_grad_cam(monkeypatch):
    assert LesionLogit(Constant()).gradcam_layer == "network.nothing"
    monkeypatch.delattr(Constant, "gradcam_layer")
    network = LesionLogit(Constant())
    assert torch.jit.script(network)(MASK).tolist() == [[[[3.0, -5.0]]]]
    with pytest.raises(ValueError, match="gradcam_layer"):
        grad_cam(network, MASK)


def test_mask_and_classes_of_a_volume_and_without_a_class_head():
    net = MultiTaskUNet(spatial_dims=3, in_channels=1, channels=(8,)).eval()
    alone = MultiTaskUNet(channels=(8, 8), num_classes=None).eval()
    x = torch.rand(1, 2, 8, 8)
    with torch.no_grad():
        assert MaskAndClasses(net)(torch.rand(2, 1, 4, 5, 6)).shape == (2, 4, 4, 5, 6)
        assert torch.equal(MaskAndClasses(alone)(x), LesionLogit(alone)(x))


@pytest.mark.parametrize("net", [MultiTaskUNet(channels=(8,)), nn.ModuleDict({"network": nn.Linear(1, 1)})])
def test_mask_and_classes_has_the_state_dict_of_its_network(net):
    both = MaskAndClasses(net)
    assert list(both.state_dict()) == list(net.state_dict())
    holder = nn.ModuleDict({"inside": both})
    assert list(holder.state_dict()) == [f"inside.{name}" for name in net.state_dict()]
    changed = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    both.load_state_dict(changed)
    assert all(torch.equal(tensor, changed[name]) for name, tensor in net.state_dict().items())
    holder.load_state_dict({f"inside.{name}": 2 * tensor for name, tensor in changed.items()})
    assert all(torch.equal(tensor, 2 * changed[name]) for name, tensor in net.state_dict().items())
    with pytest.raises(RuntimeError, match="Missing key"):
        both.load_state_dict(dict(list(changed.items())[1:]))


def test_a_network_for_masks_learns_by_a_multi_task_recipe():
    plain, x = nn.Conv2d(1, 2, 3, padding=1), torch.rand(1, 1, 8, 8)
    mask, coarse, classes = AsMultiTask(plain)(x)
    assert torch.equal(mask, plain(x)) and coarse is None and classes is None
    assert MaskAndClasses(AsMultiTask(plain))(x).shape == (1, 1, 8, 8)
