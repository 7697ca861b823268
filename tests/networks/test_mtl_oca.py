"""What is particular to MTL-OCA and to the U-Net of its size."""

import torch
from hybrid_attention.networks import MultiTaskOCANet, MultiTaskUNet


def build(**arguments):
    torch.manual_seed(0)
    return MultiTaskOCANet(**({"channels": (32, 16, 24)} | arguments))


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_parts_have_the_parameters_of_the_docstrings():
    net, plain = MultiTaskOCANet(), MultiTaskUNet()
    parts = [net.backbone, net.refine.coarse, net.refine.context, net.refine.fuse, net.head, net.classifier]
    assert [count(part) for part in parts] == [8_219_520, 130, 8_672, 8_256, 130, 8_451]
    sides = ("encoder", "bridge", "decoder")
    assert [count(getattr(net.backbone, side)) for side in sides] == [1_188_160, 3_673_600, 3_357_760]
    assert [count(getattr(plain.backbone, side)) for side in sides] == [1_146_624, 3_542_016, 3_099_264]


def reached(net, field):
    """Names of the children that a field's gradient reaches."""
    net.zero_grad()
    getattr(net(images(2, 2, 32, 32)), field).square().mean().backward()
    names = {"backbone", "refine.coarse", "refine.context", "refine.fuse", "head", "classifier"}
    parts = {name: list(net.get_submodule(name).parameters()) for name in names}
    return {name for name, part in parts.items() if any(p.grad is not None and p.grad.abs().max() > 0 for p in part)}


def test_the_classifier_sees_the_features_that_it_is_told_to():
    assert reached(build(), "class_logits") == {"backbone", "classifier"}
    oca = {"refine.coarse", "refine.context", "refine.fuse"}
    assert reached(build(classify_on="object_context"), "class_logits") == {"backbone", "classifier"} | oca
    assert reached(build(), "coarse_mask") == {"backbone", "refine.coarse"}
    assert reached(build(), "mask") == {"backbone", "head"} | oca


def test_stages_work_at_full_half_quarter_and_eighth_size_and_take_the_map_of_their_size():
    net = build().eval()
    given, made = [], []
    stages = [*net.backbone.encoder, net.backbone.bridge, *net.backbone.decoder]
    handles = [part.register_forward_pre_hook(lambda _, args: given.append(args[0])) for part in net.backbone.decoder]
    handles += [part.register_forward_hook(lambda _, __, y: made.append(y)) for part in stages]
    with torch.no_grad():
        net(images(1, 2, 48, 41))
    for handle in handles:
        handle.remove()
    shapes = [(32, 48, 41), (16, 24, 20), (24, 12, 10), (48, 6, 5), (24, 12, 10), (16, 24, 20), (32, 48, 41)]
    assert [tuple(y.shape[1:]) for y in made] == shapes
    for i, (below, skip) in enumerate(zip(made[3:6], made[2::-1], strict=True)):
        enlarged = torch.nn.functional.interpolate(below, skip.shape[2:], mode="bilinear")
        torch.testing.assert_close(given[i], torch.cat([enlarged, skip], dim=1))


def test_classes_of_the_baseline_come_from_the_bridge_and_not_from_the_decoder():
    torch.manual_seed(0)
    net, x = MultiTaskUNet(channels=(16, 24, 32)).train(), images(2, 2, 32, 32)
    with torch.no_grad():
        whole = net(x)
        for part, same in ((net.backbone.decoder[0], True), (net.backbone.bridge, False)):
            handle = part.register_forward_hook(lambda _, __, y: torch.zeros_like(y))
            changed = net(x)
            handle.remove()
            assert torch.equal(changed.class_logits, whole.class_logits) == same
            assert (changed.mask - whole.mask).abs().max() > 0.01
