import pytest
import torch
from hybrid_attention.networks import LesionLogit, MultiTaskOCANet, MultiTaskOutput

SMALL = {"channels": (32, 16, 24)}
CLASSES, SEGMENTATION = 2 * 64 * 64 + 64 + 64 * 3 + 3, {"num_classes": None}
HEAD = 64 * 2 + 2
ATTENTION = 3 * (64 * 32 + 3 * 32) + 32 * 64 + 3 * 64
FUSION = 128 * 64 + 64


def stage(cin, cout, kernel=9):
    """Two convolutions with bias and group norm, and the 1 wide convolution of the input."""
    return kernel * cin * cout + 3 * cout + kernel * cout**2 + 3 * cout + (cin * cout + cout if cin != cout else 0)


def res_unet(cin, channels, kernel=9):
    widths = [*channels, 2 * channels[-1]]
    encoder = sum(stage(a, b, kernel) for a, b in zip([cin, *widths], widths, strict=False))
    return encoder + sum(stage(a + b, a, kernel) for a, b in zip(channels, widths[1:], strict=True))


BACKBONE = res_unet(2, (64, 128, 256))
CASES = [  # arguments, input shape, mask shape, trainable parameters
    ({}, (2, 2, 64, 64), (2, 2, 64, 64), 8_245_159),
    ({"classify_on": "object_context"}, (1, 2, 40, 48), (1, 2, 40, 48), 8_245_159),
    ({"object_context": False}, (1, 2, 51, 77), (1, 2, 51, 77), 8_228_101),
    ({"num_classes": None}, (1, 2, 8, 9), (1, 2, 8, 9), 8_236_708),
    ({"in_channels": 1, "num_classes": 2}, (1, 1, 33, 64), (1, 2, 33, 64), 8_245_159 - 9 * 64 - 64 - 65),
    ({"num_regions": 3}, (1, 2, 16, 15), (1, 3, 16, 15), 8_245_159 + 2 * 65),
    ({"channels": (32, 16)}, (1, 2, 4, 7), (1, 2, 4, 7), None),
    ({"spatial_dims": 3, **SMALL}, (1, 2, 9, 16, 11), (1, 2, 9, 16, 11), None),
]


def build(**arguments):
    torch.manual_seed(0)
    return MultiTaskOCANet(**(SMALL | arguments))


@pytest.fixture(scope="module")
def net():
    return build().eval()


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def present(output):
    return {name: value for name, value in output._asdict().items() if value is not None}


def test_parts_have_the_parameters_counted_by_hand():
    net = MultiTaskOCANet()
    parts = [count(net.backbone), count(net.refine.coarse), count(net.refine.context), count(net.refine.fuse)]
    assert [*parts, count(net.head), count(net.classifier)] == [BACKBONE, HEAD, ATTENTION, FUSION, HEAD, CLASSES]
    assert [*parts, count(net.head), count(net.classifier)] == [8_219_520, 130, 8_672, 8_256, 130, 8_451]
    assert [count(part) for part in (net.backbone.encoder, net.backbone.bridge, net.backbone.decoder)] == [
        1_188_160,
        3_673_600,
        3_357_760,
    ]
    assert count(build(spatial_dims=3).backbone) == res_unet(2, SMALL["channels"], kernel=27)


@pytest.mark.parametrize(("arguments", "input_shape", "mask_shape", "parameters"), CASES)
def test_shapes_and_parameter_counts(arguments, input_shape, mask_shape, parameters):
    net = MultiTaskOCANet(**arguments).eval()
    with torch.no_grad():
        output = net(torch.rand(input_shape))
    assert isinstance(output, MultiTaskOutput)
    assert output.mask.shape == mask_shape
    if arguments.get("object_context", True):
        assert output.coarse_mask.shape == mask_shape
    else:
        assert output.coarse_mask is None
    classes = arguments.get("num_classes", 3)
    if classes is None:
        assert output.class_logits is None
    else:
        assert output.class_logits.shape == (input_shape[0], classes)
    assert parameters is None or count(net) == parameters


def test_outputs_are_logits_that_vary_over_image_and_batch(net):
    with torch.no_grad():
        output = net(torch.stack([images(2, 32, 32), images(2, 32, 32).square()]))
    for logits in output:
        assert logits.min() < 0 < logits.max()
    assert output.mask.flatten(2).std(dim=2).min() > 0.01
    assert (output.mask - output.coarse_mask).std() > 0.01
    assert output.class_logits.std(dim=0).max() > 1e-3


@pytest.mark.parametrize(
    "arguments", [{}, {"object_context": False}, {"classify_on": "object_context"}, {"num_classes": None}]
)
def test_backward_reaches_every_parameter(arguments):
    net = build(**arguments)
    output = present(net(images(3, 2, 32, 32)))
    sum(logits.square().mean() for logits in output.values()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


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


def test_classify_on_changes_the_classes_alone(net):
    other = build(classify_on="object_context").eval()
    other.load_state_dict(net.state_dict())
    x = images(2, 2, 32, 32)
    with torch.no_grad():
        one, two = net(x), other(x)
    torch.testing.assert_close(two.mask, one.mask)
    assert (two.class_logits - one.class_logits).abs().max() > 0.01


def test_object_context_changes_the_mask_and_not_the_classes(net):
    plain = build(object_context=False).eval()
    assert plain.load_state_dict(net.state_dict(), strict=False).missing_keys == []
    x = images(2, 2, 32, 32)
    with torch.no_grad():
        one, two = net(x), plain(x)
        torch.testing.assert_close(two.mask, net.head(net.backbone(x)[0]))
    torch.testing.assert_close(two.class_logits, one.class_logits)
    assert (two.mask - one.mask).abs().max() > 0.01


def test_stages_work_at_full_half_quarter_and_eighth_size(net):
    seen = []
    parts = [*net.backbone.encoder, net.backbone.bridge, *net.backbone.decoder]
    handles = [part.register_forward_hook(lambda _, __, y: seen.append(tuple(y.shape[1:]))) for part in parts]
    with torch.no_grad():
        net(images(1, 2, 48, 41))
    for handle in handles:
        handle.remove()
    assert seen == [(32, 48, 41), (16, 24, 20), (24, 12, 10), (48, 6, 5), (24, 12, 10), (16, 24, 20), (32, 48, 41)]


def test_decoder_stages_take_what_comes_from_below_and_the_encoder_s_map_of_their_size(net):
    given, made = [], []
    handles = [part.register_forward_pre_hook(lambda _, args: given.append(args[0])) for part in net.backbone.decoder]
    stages = [*net.backbone.encoder, net.backbone.bridge, *net.backbone.decoder]
    handles += [part.register_forward_hook(lambda _, __, y: made.append(y)) for part in stages]
    with torch.no_grad():
        net(images(1, 2, 32, 48))
    for handle in handles:
        handle.remove()
    for i, (below, skip) in enumerate(zip(made[3:6], made[2::-1], strict=True)):
        enlarged = torch.nn.functional.interpolate(below, scale_factor=2.0, mode="bilinear")
        torch.testing.assert_close(given[i], torch.cat([enlarged, skip], dim=1))


@pytest.mark.parametrize("part", ["encoder.0", "encoder.1", "encoder.2", "bridge"])
def test_every_scale_has_its_say(net, part):
    x = images(1, 2, 32, 32)
    with torch.no_grad():
        whole = net(x)
        handle = net.backbone.get_submodule(part).register_forward_hook(lambda _, __, y: torch.zeros_like(y))
        silent = net(x)
        handle.remove()
    for one, other in zip(whole, silent, strict=True):
        assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
        ({"channels": ()}, r"at least one stage, got \(\)"),
        ({"channels": (32, 20)}, "multiples of 8.*got 20"),
        ({"channels": (24, 32)}, "object-contextual attention must be a multiple of 16, got 24"),
        ({"num_regions": 1}, r"num_regions must be at least 2 \(background and lesion\), got 1"),
        ({"num_classes": 1}, "num_classes must be at least 2, or None.*got 1"),
        ({"num_classes": 0}, "num_classes must be at least 2, or None.*got 0"),
        ({"classify_on": "encoder"}, r"\('backbone', 'object_context'\), got 'encoder'"),
        ({"classify_on": "object_context", "object_context": False}, "got object_context=False and num_classes=3"),
        ({"classify_on": "object_context", "num_classes": None}, "got object_context=True and num_classes=None"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskOCANet(**arguments)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, 7, 32), r"size 7 \(axis 0\).*at least 8"),
        ((1, 2, 32, 3), r"size 3 \(axis 1\).*at least 8"),
        ((1, 1, 32, 32), "expected 2 input channels, received 1"),
        ((2, 32, 32), "2 spatial dimensions, received 3 dimensions"),
    ],
)
def test_input_that_does_not_fit_is_refused(net, shape, message):
    with pytest.raises(ValueError, match=message):
        net(torch.rand(shape))


def assert_same(output, expected):
    assert type(output)._fields == MultiTaskOutput._fields
    for one, other in zip(output, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "arguments", [{}, {"object_context": False}, {"classify_on": "object_context"}, {"num_classes": None}]
)
def test_scripted_equals_eager_and_keeps_its_errors(arguments, tmp_path):
    net = build(**arguments).eval()
    torch.jit.script(net).save(tmp_path / "net.ts")
    scripted = torch.jit.load(tmp_path / "net.ts")
    with torch.no_grad(), torch.jit.optimized_execution(False):
        for x in (images(2, 2, 32, 48), images(1, 2, 37, 50)):
            assert_same(scripted(x), net(x))
        with pytest.raises(torch.jit.Error, match="ValueError: expected 2 input channels, received 1"):
            scripted(images(1, 1, 32, 32))


def test_scripted_volumes_equal_eager():
    net = build(spatial_dims=3).eval()
    x = images(1, 2, 9, 16, 11)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        assert_same(torch.jit.script(net)(x), net(x))


def test_traced_equals_eager_at_other_sizes(net, recwarn):
    with torch.no_grad(), torch.jit.optimized_execution(False):
        traced = torch.jit.trace(LesionLogit(net), images(2, 2, 32, 48), check_trace=False)
        warned = {w.filename for w in recwarn if issubclass(w.category, torch.jit.TracerWarning)}
        assert warned <= {torch.nn.functional.__file__}  # of a check in PyTorch's group norm
        x = images(1, 2, 37, 50)
        torch.testing.assert_close(traced(x), LesionLogit(net)(x), rtol=1e-4, atol=1e-4)


def test_exported_with_dynamic_sizes_equals_eager(net):
    dim = torch.export.Dim
    sizes = {0: dim("batch", max=64), 2: dim("height", min=16, max=512), 3: dim("width", min=16, max=512)}
    exported = torch.export.export(net, (images(2, 2, 32, 48),), dynamic_shapes=(sizes,)).module()
    with torch.no_grad():
        for x in (images(1, 2, 64, 16), images(3, 2, 37, 50)):
            assert_same(exported(x), net(x))


def test_channels_last_under_bfloat16_autocast_stays_near_float32(net):
    x = images(2, 2, 64, 64)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            output = net(x.contiguous(memory_format=torch.channels_last))
    for one, other in zip(output, expected, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.float() - other).abs().max() < 0.1 * other.abs().max()
