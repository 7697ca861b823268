"""What is particular to the networks of the bundles, and what wraps networks; see also `test_every_network.py`."""

import pytest
import torch
from hybrid_attention.networks import (
    AsMultiTask,
    DeepAttentionUNet,
    DeepSupervision,
    HybridAttentionNet,
    HybridLiteNet,
    HybridMultiTaskNet,
    LesionLogit,
    MaskAndClasses,
    MultiTaskOCANet,
    MultiTaskOutput,
    MultiTaskUNet,
    PlainUNet,
    TripleEncoderUNet,
    baselines,
    lesion_logit,
    triple_encoder_model,
)
from torch import nn

R, D, E = "resnet18", "densenet121", "efficientnet-b0"
TABLE_1 = [  # the paper's models, attention, encoders, frozen, parameters, trainable
    ((1, 2), "cbam", (R, D, E), False, 23_881_989, 23_881_989),
    ((3, 4), "non_local", (R, D, E), False, 24_493_277, 24_493_277),
    ((5, 6), None, (R, D, E), True, 23_794_557, 1_656_641),
    ((7, 8), None, (R, D, E), False, 23_794_557, 23_794_557),
    ((9, 11), "non_local", (R, D, E), True, 24_493_277, 2_355_361),
    ((10, 12), "cbam", (R, D, E), True, 23_881_989, 1_744_073),
    ((13, 14), None, (D, E), True, 12_350_269, 1_388_865),
    ((15, 16), None, (R, E), True, 16_305_149, 1_121_089),
    ((17, 18), None, (R, D), True, 19_117_569, 987_201),
    ((19, 20), None, (D, E), False, 12_350_269, 12_350_269),  # printed with two digits swapped: 12,350,296
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def frozen(**arguments):
    return TripleEncoderUNet(encoders=[R], freeze_encoders=True, encoder_weights="random", **arguments)


@pytest.mark.parametrize(("models", "attention", "encoders", "frozen", "parameters", "trainable"), TABLE_1)
def test_counts_of_the_paper_s_table(models, attention, encoders, frozen, parameters, trainable):
    described = [triple_encoder_model(number) for number in models]
    assert {model[:3] for model in described} == {(attention, encoders, frozen)}
    assert {model.loss for model in described} == {"bce", "dice"}
    net = TripleEncoderUNet(encoders=encoders, attention=attention, freeze_encoders=frozen, encoder_weights="random")
    counts = [sum(p.numel() for p in net.parameters() if p.requires_grad >= only) for only in (False, True)]
    assert counts == [parameters, trainable]


def test_no_such_model():
    assert sorted(model for models, *_ in TABLE_1 for model in models) == list(range(1, 21))
    with pytest.raises(ValueError, match=r"from 1 to 20.*got 21"):
        triple_encoder_model(21)


def test_frozen_encoders_stay_as_they_are_in_training():
    net = frozen().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=0.1)
    net(torch.rand(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if not name.startswith("encoders.")}
    assert not any(part.training for part in net.encoders.modules()) and net.decoder[0].training


def test_each_stage_of_the_deep_network_has_its_own_dropout():
    net = DeepAttentionUNet()
    stages = [*net.encoder, net.bottleneck, *net.decoder]
    rates = [part.p for stage in stages for part in stage.modules() if isinstance(part, nn.Dropout)]
    assert rates == [0.25, 0.25, 0.3, 0.3, 0.3, 0.3, 0.3, 0.25, 0.25]


@torch.no_grad()
def test_start_without_normalisation_carries_the_signal_to_the_deepest_scale():
    net, seen = PlainUNet(channels=(8, 16, 32, 64, 128)), []
    net.encoder[3].register_forward_hook(lambda module, args, output: seen.append(output))
    assert net(torch.rand(2, 3, 32, 32)).std() < 10
    assert (seen[0][0] - seen[0][1]).std() > 0.05


@torch.no_grad()
@pytest.mark.parametrize(
    ("net", "unseen", "seen"),
    [
        (MultiTaskUNet(channels=(16, 24, 32)), ["backbone.decoder.0"], ["backbone.bridge"]),
        (baselines.MTDUNet(in_channels=2, channels=(4, 8, 8, 16)), ["encoder.3", "decoder.0"], ["encoder.2"]),
        (MultiTaskOCANet(channels=(16, 24)), ["refine.context", "refine.fuse"], ["backbone.decoder.1"]),
        (MultiTaskOCANet(channels=(16, 24), classify_on="object_context"), [], ["refine.context", "refine.fuse"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_classes_come_from_the_features_that_the_paper_names(net, unseen, seen):
    x = torch.rand(2, 2, 32, 32)
    whole = net.eval()(x)
    for name in unseen + seen:
        handle = net.get_submodule(name).register_forward_hook(lambda _, __, y: torch.zeros_like(y))
        changed = net(x)
        handle.remove()
        assert torch.equal(changed.class_logits, whole.class_logits) == (name in unseen)
        assert not torch.equal(changed.mask, whole.mask)


def test_start_from_a_network_for_masks_gives_its_logits():
    masks = HybridAttentionNet(in_channels=3, out_channels=1).eval()
    both = HybridMultiTaskNet(in_channels=2, num_regions=2).eval()
    both.start_from_masks(masks.state_dict())
    grey, edges = torch.rand(2, 1, 48, 64), torch.rand(2, 1, 48, 64)
    with torch.no_grad():
        expected = masks(grey.repeat(1, 3, 1, 1))
        found = lesion_logit(both(torch.cat([grey, edges], dim=1)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r": \d+ weights missing \(\S*tam\S+, .*, …\)$"):
        both.start_from_masks(HybridAttentionNet(tam=False).state_dict())
    other = HybridAttentionNet(out_channels=3).state_dict() | {"scale": torch.ones(1)}
    with pytest.raises(ValueError, match=r"unexpected \(scale\), 2 weights of another shape \(.* \(3,\) for \(2,\)\)$"):
        both.start_from_masks(other)


# one image of two pixels; region logits of background and lesion
MASK = torch.tensor([[[[1.0, -2.0]], [[4.0, -7.0]]]])


class Constant(nn.Module):
    """A network whose three fields are known; class logits are the sums -1 and -3."""

    gradcam_layer = "nothing"

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        return MultiTaskOutput(mask=x, coarse_mask=x + 1, class_logits=x.flatten(2).sum(dim=2))


@pytest.mark.parametrize("regions", [2, 4])
def test_sigmoid_of_the_lesion_logit_is_the_softmax_of_all_but_the_background(regions):
    mask = 3 * torch.randn(2, regions, 4, 5)
    logit = lesion_logit(MultiTaskOutput(mask, None, None))
    torch.testing.assert_close(logit.sigmoid(), mask.softmax(dim=1)[:, 1:].sum(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("adapt", "expected"),
    [(LesionLogit, [[[[3.0, -5.0]]]]), (MaskAndClasses, [[[[3.0, -5.0]], [[-1.0, -1.0]], [[-3.0, -3.0]]]])],
)
def test_one_tensor_by_hand(adapt, expected):
    network = adapt(Constant())
    assert network(MASK).tolist() == torch.jit.script(network)(MASK).tolist() == expected


@torch.no_grad()
def test_masks_and_classes_of_a_volume_and_without_a_class_head():
    volumes = MultiTaskUNet(spatial_dims=3, in_channels=1, channels=(8,)).eval()
    assert MaskAndClasses(volumes)(torch.rand(2, 1, 4, 5, 6)).shape == (2, 4, 4, 5, 6)
    plain, x = nn.Conv2d(1, 2, 3, padding=1), torch.rand(1, 1, 8, 8)
    mask, coarse, classes = AsMultiTask(plain)(x)
    assert torch.equal(mask, plain(x)) and coarse is None and classes is None
    assert torch.equal(MaskAndClasses(AsMultiTask(plain))(x), LesionLogit(AsMultiTask(plain))(x))


def test_mask_and_classes_has_the_state_dict_of_its_network():
    net = nn.ModuleDict({"network": nn.Linear(1, 1), "other": nn.BatchNorm1d(2)})
    names, holder = list(net.state_dict()), nn.ModuleDict({"inside": MaskAndClasses(net)})
    assert list(holder.inside.state_dict()) == names
    assert list(holder.state_dict()) == [f"inside.{name}" for name in names]
    changed = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    holder.inside.load_state_dict(changed)
    assert all(torch.equal(tensor, changed[name]) for name, tensor in net.state_dict().items())
    holder.load_state_dict({f"inside.{name}": 2 * tensor for name, tensor in changed.items()})
    assert all(torch.equal(tensor, 2 * changed[name]) for name, tensor in net.state_dict().items())
    with pytest.raises(RuntimeError, match="Missing key"):
        holder.inside.load_state_dict(dict(list(changed.items())[1:]))


def test_deep_supervision_gives_own_logits_first_then_one_map_per_layer():
    network = HybridAttentionNet()
    names, x = set(network.state_dict()), torch.rand(2, 3, 32, 32)
    supervised = DeepSupervision(network, {"decoder.1": 128, "decoder.0": 256})  # of HAN's overlay
    outputs = supervised(x)
    assert [tuple(output.shape) for output in outputs] == [(2, 1, 32, 32), (2, 1, 8, 8), (2, 1, 4, 4)]
    assert torch.equal(outputs[0], network(x))
    assert (outputs[1] == 0).all()  # new heads know nothing
    assert set(network.state_dict()) == names
    nn.init.ones_(supervised.heads[0].weight)
    supervised(x)[1].sum().backward()
    assert all(network.get_submodule(name).weight.grad is None for name in ("head", "final.conv"))
    assert network.encoder.stages[0].conv0.weight.grad.abs().max() > 0
    with pytest.raises(AttributeError, match="x"):
        DeepSupervision(network, {"x": 4})


@torch.no_grad()
def test_bfloat16_in_training_keeps_depthwise_convolutions_in_float32():
    network, kinds = HybridLiteNet(drop=0.0), set()
    for name, module in network.encoder.named_modules():
        if name.endswith("depthwise_conv"):
            module.register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.rand(2, 1, 64, 64))
    assert kinds == {torch.float32}
