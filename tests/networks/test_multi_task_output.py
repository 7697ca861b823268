import pytest
import torch
from hybrid_attention.explain import grad_cam
from hybrid_attention.networks import (
    AsMultiTask,
    LesionLogit,
    MaskAndClasses,
    MTLDUNet,
    MultiTaskOCANet,
    MultiTaskOutput,
    lesion_logit,
)
from torch import nn

BUILDERS = {
    "oca": lambda: MultiTaskOCANet(channels=(16, 16, 24)),
    "classify on oca": lambda: MultiTaskOCANet(channels=(16, 16, 24), classify_on="object_context"),
    "two stages": lambda: MultiTaskOCANet(channels=(16, 24)),
    "dunet": lambda: MTLDUNet(channels=(16, 16, 24)),
}


@pytest.fixture(params=BUILDERS)
def net(request):
    torch.manual_seed(0)
    return BUILDERS[request.param]().eval()


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


class Constant(nn.Module):
    """A network whose three fields are known."""

    gradcam_layer = "nothing"

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        return MultiTaskOutput(mask=x, coarse_mask=x + 1, class_logits=x.flatten(2).sum(dim=2))


@pytest.mark.parametrize("regions", [2, 3, 4])
def test_sigmoid_of_the_lesion_logit_is_the_softmax_of_all_but_the_background(regions):
    mask = 3 * torch.randn(2, regions, 4, 5)
    logit = lesion_logit(MultiTaskOutput(mask, None, None))
    assert logit.shape == (2, 1, 4, 5)
    torch.testing.assert_close(logit.sigmoid(), mask.softmax(dim=1)[:, 1:].sum(dim=1, keepdim=True))


def test_lesion_logit_of_two_regions_is_their_difference():
    mask = torch.tensor([[[[1.0, -2.0]], [[4.0, -7.0]]]])  # one image, regions background and lesion, two pixels
    expected = torch.tensor([[[[3.0, -5.0]]]])
    assert torch.equal(LesionLogit(Constant())(mask), expected)
    assert torch.equal(torch.jit.script(LesionLogit(Constant()))(mask), expected)


def test_lesion_logit_of_a_network_that_names_no_layer(monkeypatch):
    assert LesionLogit(Constant()).gradcam_layer == "network.nothing"
    monkeypatch.delattr(Constant, "gradcam_layer")
    network, mask = LesionLogit(Constant()), torch.tensor([[[[1.0]], [[4.0]]]])
    assert torch.equal(torch.jit.script(network)(mask), torch.tensor([[[[3.0]]]]))
    with pytest.raises(ValueError, match="LesionLogit has no gradcam_layer"):
        grad_cam(network, mask)


def test_lesion_logit_of_saturated_regions_stays_finite():
    mask = torch.tensor([[[[1e4, -1e4]], [[-1e4, 1e4]]]], requires_grad=True)
    logit = lesion_logit(MultiTaskOutput(mask, None, None))
    logit.sum().backward()
    assert logit.tolist() == [[[[-2e4, 2e4]]]]
    assert mask.grad.tolist() == [[[[-1.0, -1.0]], [[1.0, 1.0]]]]


def test_scripted_adapters_of_real_networks_equal_eager(net):
    x = images(1, 2, 37, 50)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        for adapter in (MaskAndClasses(net), LesionLogit(net)):
            torch.testing.assert_close(torch.jit.script(adapter)(x), adapter(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adapt", [LesionLogit, MaskAndClasses])
def test_exported_adapters_equal_eager(adapt):
    adapter = adapt(MTLDUNet(channels=(16,))).eval()
    dim = torch.export.Dim
    sizes = {0: dim("batch", max=64), 2: dim("height", min=4, max=512), 3: dim("width", min=4, max=512)}
    exported = torch.export.export(adapter, (images(2, 2, 32, 48),), dynamic_shapes=(sizes,)).module()
    x = images(1, 2, 37, 50)
    with torch.no_grad():
        torch.testing.assert_close(exported(x), adapter(x), rtol=1e-4, atol=1e-5)


def test_grad_cam_explains_the_class_and_the_mask(net):
    x = images(2, 2, 32, 40)
    region = torch.zeros(2, 1, 32, 40)
    region[:, :, 8:20, 10:30] = 1
    first, second = (grad_cam(net, x, output="class_logits", class_index=index) for index in (0, 1))
    mask = grad_cam(net, x, output=lesion_logit, mask=region)
    for heat in (first, second, mask):
        assert heat.shape == (2, 1, 32, 40)
    assert max(first.max(), second.max()) == 1  # with random weights one class may have nothing that speaks for it
    assert mask.flatten(1).amax(dim=1).tolist() == [1, 1]
    assert not torch.equal(first, second)
    torch.testing.assert_close(grad_cam(LesionLogit(net), x, mask=region), mask)


def test_grad_cam_layer_is_a_feature_map_that_both_tasks_depend_on(net):
    maps = []
    net.get_submodule(net.gradcam_layer).register_forward_hook(lambda _, __, y: maps.append(y))
    output = net(images(1, 2, 32, 32))
    assert len(maps) == 1
    assert maps[0].dim() == 4
    for logits in (output.mask, output.class_logits):
        (gradient,) = torch.autograd.grad(logits.square().sum(), maps[0], retain_graph=True)
        assert gradient.abs().max() > 0


def test_mask_and_classes_in_one_tensor():
    x = torch.tensor([[[[1.0, -2.0]], [[4.0, -7.0]]]])  # class logits: the sums -1 and -3
    expected = torch.tensor([[[[3.0, -5.0]], [[-1.0, -1.0]], [[-3.0, -3.0]]]])
    assert torch.equal(MaskAndClasses(Constant())(x), expected)
    assert torch.equal(torch.jit.script(MaskAndClasses(Constant()))(x), expected)


def test_mask_and_classes_of_a_volume():
    net = MTLDUNet(spatial_dims=3, in_channels=1, channels=(8,)).eval()
    with torch.no_grad():
        assert MaskAndClasses(net)(images(2, 1, 4, 5, 6)).shape == (2, 4, 4, 5, 6)


def test_mask_and_classes_without_a_class_head():
    net = MTLDUNet(channels=(8, 8), num_classes=None).eval()
    with torch.no_grad():
        assert torch.equal(MaskAndClasses(net)(images(1, 2, 8, 8)), LesionLogit(net)(images(1, 2, 8, 8)))


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


def test_state_dict_of_a_network_that_has_a_part_named_network():
    inner = nn.ModuleDict({"network": nn.Linear(1, 1)})
    both = MaskAndClasses(inner)
    assert list(both.state_dict()) == ["network.weight", "network.bias"]
    both.load_state_dict({"network.weight": torch.ones(1, 1), "network.bias": torch.zeros(1)})
    assert inner["network"].weight.item() == 1


def test_a_network_for_masks_learns_by_a_multi_task_recipe():
    torch.manual_seed(0)
    plain = nn.Conv2d(1, 2, 3, padding=1)
    mask, coarse, classes = AsMultiTask(plain)(images(1, 1, 8, 8))
    assert torch.equal(mask, plain(images(1, 1, 8, 8))) and coarse is None and classes is None
    assert MaskAndClasses(AsMultiTask(plain))(images(1, 1, 8, 8)).shape == (1, 1, 8, 8)
