import pytest
import torch
import torch.nn.functional as F
from hybrid_attention.networks import TripleEncoderUNet

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
ENCODER_PARAMETERS = {R: 11_176_512, D: 6_953_856, E: 4_007_548}
CBAM_PARAMETERS = 87_432
PROJECTIONS = (256 + 1024 + 112) * 512 + (128 + 512 + 40) * 256 + (64 + 256 + 24) * 128  # R D E at strides 16, 8, 4


def decoder_parameters(width, spatial_dims=2, out_channels=1):
    count = 65 * out_channels
    for inside, outside in zip((width, 512, 256, 128), (512, 256, 128, 64), strict=True):
        count += (3**spatial_dims + 2) * inside + (inside + 2) * outside
    return count


CASES = [  # arguments, input shape, output shape, parameters
    ({}, (2, 3, 64, 96), (2, 1, 64, 96), 23_881_989),
    ({"attention": "non_local"}, (1, 3, 51, 77), (1, 1, 51, 77), 24_493_277),
    ({"skips": True}, (1, 3, 33, 95), (1, 1, 33, 95), 23_881_989 + PROJECTIONS),
    (
        {"encoders": [E], "attention": None, "out_channels": 3},
        (1, 3, 32, 33),
        (1, 3, 32, 33),
        ENCODER_PARAMETERS[E] + decoder_parameters(1280, out_channels=3),
    ),
    (
        {"encoders": [D], "attention": None},
        (1, 3, 32, 32),
        (1, 1, 32, 32),
        ENCODER_PARAMETERS[D] + decoder_parameters(1024),
    ),
    (
        {"encoders": [R], "in_channels": 1},
        (1, 1, 97, 32),
        (1, 1, 97, 32),
        ENCODER_PARAMETERS[R] - 2 * 64 * 49 + decoder_parameters(512) + CBAM_PARAMETERS,
    ),
]


def count(module, trainable=False):
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def settled(**arguments):
    """Build a network whose batch norms know their input, as after training; at birth the signal fades on its way."""
    torch.manual_seed(0)
    net = TripleEncoderUNet(**arguments).train()
    norms = [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        net(images(4, 3, 96, 96))
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()


@pytest.fixture(scope="module")
def net():
    return settled(attention="non_local", skips=True)


@pytest.mark.parametrize(("models", "attention", "encoders", "frozen", "parameters", "trainable"), TABLE_1)
def test_counts_of_the_paper_s_table(models, attention, encoders, frozen, parameters, trainable):
    net = TripleEncoderUNet(encoders=encoders, attention=attention, freeze_encoders=frozen)
    assert (count(net), count(net, trainable=True)) == (parameters, trainable)


def test_the_table_has_every_model_once():
    assert sorted(model for models, *_ in TABLE_1 for model in models) == list(range(1, 21))


@pytest.mark.parametrize(("arguments", "input_shape", "output_shape", "parameters"), CASES)
def test_shapes_and_parameter_counts(arguments, input_shape, output_shape, parameters):
    net = TripleEncoderUNet(**arguments).eval()
    with torch.no_grad():
        assert net(torch.rand(input_shape)).shape == output_shape
    assert count(net) == parameters


@pytest.mark.parametrize("attention", ["cbam", "non_local", None])
def test_volumes(attention):
    net = TripleEncoderUNet(3, in_channels=1, encoders=[R, E], attention=attention, skips=True).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 1, 33, 32, 40)).shape == (1, 1, 33, 32, 40)
    convolutions = sum(count(stage.conv) for stage in net.decoder) + count(net.head)
    assert convolutions == decoder_parameters(512 + 1280, spatial_dims=3)


@pytest.mark.parametrize("attention", ["cbam", "non_local", None])
def test_output_is_a_logit_that_varies_over_the_image(attention):
    torch.manual_seed(0)
    net = TripleEncoderUNet(encoders=[R, E], attention=attention)
    with torch.no_grad():
        output = net(images(4, 3, 64, 64))
    assert output.min() < 0 < output.max()
    assert output.std() > 0.01


def test_stages_work_at_the_paper_s_scales(net):
    """For 224 wide images: attention over 7², 14², 28² and 56² positions."""
    seen = []
    handles = [stage.attention.register_forward_hook(lambda _, __, y: seen.append(y.shape)) for stage in net.decoder]
    with torch.no_grad():
        net(images(1, 3, 224, 224))
    for handle in handles:
        handle.remove()
    assert [tuple(shape) for shape in seen] == [(1, 512, 7, 7), (1, 256, 14, 14), (1, 128, 28, 28), (1, 64, 56, 56)]


def test_an_odd_image_is_one_whose_last_row_and_column_go_on(net):
    x = images(2, 3, 51, 77)
    with torch.no_grad():
        padded = net(F.pad(x, (0, 96 - 77, 0, 64 - 51), mode="replicate"))
        torch.testing.assert_close(net(x), padded[:, :, :51, :77])


@pytest.mark.parametrize("attention", ["cbam", "non_local", None])
def test_backward_reaches_every_parameter(attention):
    torch.manual_seed(0)
    net = TripleEncoderUNet(attention=attention, skips=True)
    net(images(4, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    dead = {name for name, p in net.named_parameters() if p.grad.abs().max() == 0}
    # φ's bias adds the same to a whole row of the map, which softmax takes out again, but for rounding.
    assert dead <= {f"decoder.{i}.attention.phi.bias" for i in range(4)}


def statistics(module):
    return {name: value.clone() for name, value in module.named_buffers()}


def test_frozen_encoders_stay_as_they_are_in_training():
    torch.manual_seed(0)
    net = TripleEncoderUNet(freeze_encoders=True).train()
    assert net.decoder[0].training
    before = {"encoders": statistics(net.encoders), "decoder": statistics(net.decoder)}
    parameters = {name: p.clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=0.1)
    net(images(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, parameters[name])}
    assert moved == {name for name in parameters if not name.startswith("encoders.")}
    after = {"encoders": statistics(net.encoders), "decoder": statistics(net.decoder)}
    assert all(torch.equal(value, after["encoders"][name]) for name, value in before["encoders"].items())
    assert not any(torch.equal(value, after["decoder"][name]) for name, value in before["decoder"].items())
    assert not any(part.training for part in net.encoders.modules())
    assert not net.eval().decoder[0].training


def test_free_encoders_learn_and_gather_statistics():
    net = TripleEncoderUNet(encoders=[R], attention=None)
    before = statistics(net.encoders)
    net(images(2, 3, 64, 64)).mean().backward()
    assert net.encoders.training
    assert not any(torch.equal(value, before[name]) for name, value in statistics(net.encoders).items())


def test_dropout_takes_whole_channels_before_the_head_in_training_only():
    torch.manual_seed(0)
    net = TripleEncoderUNet(encoders=[R], freeze_encoders=True, dropout=0.5)
    seen = []
    net.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        first, second = net(x), net(x)
        assert not torch.equal(first, second)
        dark = (seen[0] == 0).flatten(2).all(2)  # (2, 64)
        assert 32 < dark.sum() < 96  # expected 64 of 128
        net.dropout.p = 0.0
        torch.testing.assert_close(net(x), net(x))
        net.eval()
        torch.testing.assert_close(net(x), net(x))


def test_skips_add_the_encoders_finer_features():
    net = settled(encoders=[R, E], skips=True)
    plain = TripleEncoderUNet(encoders=[R, E]).eval()
    loaded = plain.load_state_dict(net.state_dict(), strict=False)
    assert loaded.missing_keys == []
    assert loaded.unexpected_keys == [f"decoder.{i}.skip.projections.{e}.weight" for i in (1, 2, 3) for e in (0, 1)]
    x = images(1, 3, 64, 64)
    with torch.no_grad():
        assert (net(x) - plain(x)).abs().max() > 0.1 * net(x).std()
        for stage in net.decoder:
            for projection in stage.skip.projections:
                projection.weight.zero_()
        torch.testing.assert_close(net(x), plain(x))


@pytest.mark.parametrize("attention", ["cbam", "non_local"])
def test_attention_changes_the_output(attention):
    torch.manual_seed(0)
    net = TripleEncoderUNet(encoders=[R], attention=attention, dropout=0.0)
    plain = TripleEncoderUNet(encoders=[R], attention=None, dropout=0.0)
    assert plain.load_state_dict(net.state_dict(), strict=False).missing_keys == []
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        assert (net(x) - plain(x)).abs().max() > 0.1


def test_every_encoder_has_its_say(net):
    x = images(1, 3, 64, 64)
    with torch.no_grad():
        whole = net(x)
        for encoder in net.encoders.values():
            handle = encoder.register_forward_hook(lambda _, __, maps: [torch.zeros_like(part) for part in maps])
            assert (net(x) - whole).abs().max() > 0.1 * whole.std()
            handle.remove()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoders": []}, r"'resnet18', 'densenet121', 'efficientnet-b0'\), got \[\]"),
        ({"encoders": [R, "vgg16"]}, r"got \['resnet18', 'vgg16'\]"),
        ({"encoders": [E, E]}, r"different names.*got \['efficientnet-b0', 'efficientnet-b0'\]"),
        ({"encoders": R}, "a list of names, as in .'resnet18'., got the text 'resnet18'"),
        ({"attention": "se"}, r"\('cbam', 'non_local', None\), got 'se'"),
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
        ({"dropout": 1.5, "encoders": [R]}, "got 1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TripleEncoderUNet(**arguments)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 31, 64), r"size 31 \(axis 0\).*at least 32"),
        ((1, 3, 64, 8), r"size 8 \(axis 1\).*at least 32"),
        ((1, 1, 64, 64), "expected 3 input channels, received 1.*RepeatChannel"),
        ((1, 3, 64, 64, 64), "2 spatial dimensions, received 5 dimensions"),
    ],
)
def test_input_that_does_not_fit_is_refused(net, shape, message):
    with pytest.raises(ValueError, match=message):
        net(torch.rand(shape))


@pytest.mark.parametrize("arguments", [{}, {"attention": "non_local", "skips": True, "freeze_encoders": True}])
def test_scripted_equals_eager_and_keeps_its_errors(arguments, tmp_path):
    net = settled(encoders=[R, E], **arguments)
    torch.jit.script(net).save(tmp_path / "net.ts")
    scripted = torch.jit.load(tmp_path / "net.ts")
    with torch.no_grad(), torch.jit.optimized_execution(False):
        for x in (images(2, 3, 64, 96), images(1, 3, 37, 50)):
            torch.testing.assert_close(scripted(x), net(x), rtol=1e-4, atol=1e-4)
        with pytest.raises(torch.jit.Error, match="ValueError: expected 3 input channels, received 1"):
            scripted(images(1, 1, 64, 64))


def test_traced_equals_eager_at_other_sizes(net, recwarn):
    with torch.no_grad(), torch.jit.optimized_execution(False):
        traced = torch.jit.trace(net, images(2, 3, 64, 64), check_trace=False)
        assert not [str(w.message) for w in recwarn if issubclass(w.category, torch.jit.TracerWarning)]
        x = images(1, 3, 37, 50)
        torch.testing.assert_close(traced(x), net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_exported_with_dynamic_sizes_equals_eager(net):
    dim = torch.export.Dim
    sizes = {0: dim("batch", max=64), 2: dim("height", min=64, max=2048), 3: dim("width", min=64, max=2048)}
    exported = torch.export.export(net, (images(2, 3, 90, 100),), dynamic_shapes=(sizes,)).module()
    with torch.no_grad():
        for x in (images(1, 3, 64, 96), images(3, 3, 77, 130)):
            torch.testing.assert_close(exported(x), net(x), rtol=1e-4, atol=1e-4)


def test_channels_last_under_bfloat16_autocast_stays_near_float32(net):
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            output = net(x.contiguous(memory_format=torch.channels_last))
    assert output.dtype == torch.bfloat16
    assert (output.float() - expected).abs().max() < 0.1 * expected.abs().max()
