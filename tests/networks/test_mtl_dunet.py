import pytest
import torch
from hybrid_attention.networks import MTLDUNet, MultiTaskOCANet, MultiTaskOutput

SMALL = {"channels": (16, 24, 32)}


def stage(cin, cout, kernel=9):
    """Two convolutions with bias and batch norm."""
    return kernel * cin * cout + 3 * cout + kernel * cout**2 + 3 * cout


def unet(cin, channels, kernel=9):
    widths = [*channels, 2 * channels[-1]]
    encoder = sum(stage(a, b, kernel) for a, b in zip([cin, *widths], widths, strict=False))
    return encoder + sum(stage(a + b, a, kernel) for a, b in zip(channels, widths[1:], strict=True))


def classifier(width, classes):
    return 2 * width * width + width + width * classes + classes  # mean and maximum go in


UNET = unet(2, (64, 128, 256)) + 130
CASES = [  # arguments, input shape, mask shape, trainable parameters
    ({}, (2, 2, 64, 64), (2, 2, 64, 64), UNET + classifier(512, 3)),
    ({"num_classes": None}, (1, 2, 33, 45), (1, 2, 33, 45), UNET),
    ({"num_classes": 2, "in_channels": 3}, (1, 3, 8, 9), (1, 2, 8, 9), UNET + 9 * 64 + classifier(512, 2)),
    ({"channels": (8, 16), "num_regions": 3}, (1, 2, 4, 6), (1, 3, 4, 6), unet(2, (8, 16)) + 27 + classifier(32, 3)),
    (
        {"spatial_dims": 3, **SMALL},
        (1, 2, 9, 16, 11),
        (1, 2, 9, 16, 11),
        unet(2, SMALL["channels"], 27) + 34 + classifier(64, 3),
    ),
]


def build(**arguments):
    torch.manual_seed(0)
    return MTLDUNet(**(SMALL | arguments))


@pytest.fixture(scope="module")
def net():
    """In evaluation, with the statistics of one batch, so that the signal keeps its size."""
    net = build()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    net(images(8, 2, 32, 32))
    return net.eval()


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(("arguments", "input_shape", "mask_shape", "parameters"), CASES)
def test_shapes_and_parameter_counts(arguments, input_shape, mask_shape, parameters):
    net = MTLDUNet(**arguments).eval()
    with torch.no_grad():
        output = net(torch.rand(input_shape))
    assert isinstance(output, MultiTaskOutput)
    assert output.mask.shape == mask_shape
    assert output.coarse_mask is None
    classes = arguments.get("num_classes", 3)
    if classes is None:
        assert output.class_logits is None
    else:
        assert output.class_logits.shape == (input_shape[0], classes)
    assert count(net) == parameters


def test_counts_of_the_docstring_and_the_equal_budget():
    dunet, single = MTLDUNet(), MTLDUNet(num_classes=None)
    assert (count(dunet), count(single)) == (8_314_373, 7_788_034)
    backbone = dunet.backbone
    assert [count(part) for part in (backbone.encoder, backbone.bridge, backbone.decoder)] == [
        1_146_624,
        3_542_016,
        3_099_264,
    ]
    projections = sum(a * b + b for a, b in [(2, 64), (64, 128), (128, 256), (256, 512)])
    projections += sum(a * b + b for a, b in [(768, 256), (384, 128), (192, 64)])
    assert count(MultiTaskOCANet().backbone) - count(backbone) == projections


def test_backward_reaches_every_parameter():
    net = build()
    output = net(images(3, 2, 32, 32))
    (output.mask.square().mean() + output.class_logits.square().mean()).backward()
    assert all(p.grad is not None for p in net.parameters())
    # A bias just before a batch norm is taken out by it: its gradient is zero but for rounding.
    cancelled = {f"{name}.conv.bias" for name, part in net.named_modules() if hasattr(getattr(part, "adn", None), "N")}
    assert {name for name, p in net.named_parameters() if p.grad.abs().max() == 0} <= cancelled


def test_classes_come_from_the_bridge_and_not_from_the_decoder(net):
    x = images(2, 2, 32, 32)
    with torch.no_grad():
        whole = net(x)
        for part, same in ((net.backbone.decoder[0], True), (net.backbone.bridge, False)):
            handle = part.register_forward_hook(lambda _, __, y: torch.zeros_like(y))
            changed = net(x)
            handle.remove()
            assert torch.equal(changed.class_logits, whole.class_logits) == same
            assert (changed.mask - whole.mask).abs().max() > 0.01


def test_single_task_has_the_same_mask(net):
    single = build(num_classes=None).eval()
    assert single.load_state_dict(net.state_dict(), strict=False).missing_keys == []
    x = images(1, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(single(x).mask, net(x).mask)


def test_bad_arguments_and_input_are_refused(net):
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 4"):
        MTLDUNet(spatial_dims=4)
    with pytest.raises(ValueError, match=r"at least one stage, got \(\)"):
        MTLDUNet(channels=())
    with pytest.raises(ValueError, match=r"num_classes must be at least 2.*got 1"):
        MTLDUNet(num_classes=1)
    with pytest.raises(ValueError, match=r"num_regions must be at least 2.*got 0"):
        MTLDUNet(num_regions=0)
    with pytest.raises(ValueError, match=r"size 7 \(axis 1\).*at least 8"):
        net(torch.rand(1, 2, 8, 7))
    with pytest.raises(ValueError, match="expected 2 input channels, received 3"):
        net(torch.rand(1, 3, 8, 8))


def assert_same(output, expected):
    assert type(output)._fields == MultiTaskOutput._fields
    for one, other in zip(output, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"num_classes": None}])
def test_scripted_equals_eager(arguments):
    net = build(**arguments).eval()
    scripted = torch.jit.script(net)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        for x in (images(2, 2, 32, 32), images(1, 2, 37, 19)):
            assert_same(scripted(x), net(x))


def test_exported_with_dynamic_sizes_equals_eager():
    net = build(channels=(16, 24), num_classes=None).eval()
    dim = torch.export.Dim
    sizes = {0: dim("batch", max=64), 2: dim("height", min=8, max=512), 3: dim("width", min=8, max=512)}
    exported = torch.export.export(net, (images(2, 2, 32, 48),), dynamic_shapes=(sizes,)).module()
    with torch.no_grad():
        for x in (images(2, 2, 32, 32), images(1, 2, 37, 19)):
            assert_same(exported(x), net(x))
