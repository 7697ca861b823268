import pytest
import torch
from hybrid_attention.networks import HybridAttentionNet

BASELINE = {"conv_block": False, "sfeb": False, "tam": False}
CASES = [  # arguments, input shape, output shape, trainable parameters
    (BASELINE, (1, 3, 64, 64), (1, 1, 64, 64), 10_498_945),
    (BASELINE | {"conv_block": True}, (1, 3, 48, 64), (1, 1, 48, 64), 11_089_537),
    ({"tam": False}, (1, 3, 64, 64), (1, 1, 64, 64), 15_339_329),
    ({}, (2, 3, 64, 96), (2, 1, 64, 96), 15_427_713),
    ({}, (1, 3, 51, 77), (1, 1, 51, 77), 15_427_713),
    ({}, (1, 3, 16, 17), (1, 1, 16, 17), 15_427_713),
    ({"sfeb_pooling": "global"}, (1, 3, 64, 64), (1, 1, 64, 64), 15_427_713),
    ({"in_channels": 1, "out_channels": 2}, (1, 1, 33, 64), (1, 2, 33, 64), 15_427_713 - 2 * 64 * 49 + 65),
    # encoder + fourth block, transition and norm; skip 1024 -> 256 with SFEB(256) and decoder stage 512 -> 256
    (
        {"encoder_depth": 4},
        (1, 3, 45, 64),
        (1, 1, 45, 64),
        15_427_713 + 2_686_464 + (9 * 1024 + 1) * 256 + 28 * 256**2 + 9 * 256 + (9 * 512 + 1) * 256,
    ),
    ({"spatial_dims": 3, "in_channels": 1}, (1, 1, 17, 32, 16), (1, 1, 17, 32, 16), 40_360_321),
]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return HybridAttentionNet().eval()


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("arguments", "input_shape", "output_shape", "parameters"), CASES)
def test_shapes_and_parameter_counts(arguments, input_shape, output_shape, parameters):
    net = HybridAttentionNet(**arguments).eval()
    with torch.no_grad():
        output = net(torch.rand(input_shape))
    assert output.shape == output_shape
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == parameters


def test_output_is_a_logit_that_varies_over_the_image(net):
    with torch.no_grad():
        output = net(images(2, 3, 64, 64))
    assert output.min() < 0
    assert output.std() > 1e-3


@pytest.mark.parametrize("arguments", [{}, {"encoder_depth": 4, "sfeb_pooling": "global"}])
def test_backward_reaches_every_parameter(arguments):
    torch.manual_seed(0)
    net = HybridAttentionNet(**arguments)
    net(images(3, 3, 64, 64)).square().mean().backward()
    # A bias just before a batch norm is taken out by it: its gradient is zero but for rounding.
    cancelled = {f"{name}.conv.bias" for name, part in net.named_modules() if hasattr(getattr(part, "adn", None), "N")}
    assert all(p.grad is not None for p in net.parameters())
    dead = {name for name, p in net.named_parameters() if p.grad.abs().max() == 0}
    assert dead <= cancelled


def test_pooling_choice_reaches_the_blocks(net):
    other = HybridAttentionNet(sfeb_pooling="global").eval()
    other.load_state_dict(net.state_dict())
    x = images(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(net(x), other(x), atol=1e-4)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="got 'mean'"):
        HybridAttentionNet(sfeb_pooling="mean")
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 1"):
        HybridAttentionNet(spatial_dims=1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 64, 64), r"expected 3 input channels, received 1.*RepeatChannel.*in_channels=1"),
        ((1, 3, 64, 15), r"size 15 \(axis 1\).*at least 16"),
        ((3, 64, 64), r"2 spatial dimensions, received 3"),
    ],
)
def test_bad_input_is_refused(net, shape, message):
    with pytest.raises(ValueError, match=message):
        net(torch.rand(shape))


def test_whole_encoder_needs_twice_the_size():
    with pytest.raises(ValueError, match=r"size 31 \(axis 0\).*at least 32"):
        HybridAttentionNet(encoder_depth=4)(torch.rand(2, 3, 31, 64))


def test_training_with_one_image_is_refused_with_advice():
    with pytest.raises(ValueError, match="batch of at least 2"):
        HybridAttentionNet(tam=False)(torch.rand(1, 3, 32, 32))


def test_scripted_equals_eager_and_keeps_its_errors(net):
    scripted = torch.jit.script(net)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        x = images(1, 3, 37, 50)
        torch.testing.assert_close(scripted(x), net(x), rtol=1e-4, atol=1e-4)
        with pytest.raises(torch.jit.Error, match="ValueError: expected 3 input channels, received 1"):
            scripted(images(1, 1, 64, 64))


def test_traced_equals_eager_at_other_sizes(net, recwarn):
    with torch.no_grad(), torch.jit.optimized_execution(False):
        traced = torch.jit.trace(net, images(2, 3, 48, 64), check_trace=False)
        assert not [str(w.message) for w in recwarn if issubclass(w.category, torch.jit.TracerWarning)]
        x = images(1, 3, 37, 50)
        torch.testing.assert_close(traced(x), net(x), rtol=1e-4, atol=1e-4)


def test_exported_with_dynamic_sizes_equals_eager(net):
    dim = torch.export.Dim
    sizes = {0: dim("batch", max=64), 2: dim("height", min=32, max=2048), 3: dim("width", min=32, max=2048)}
    exported = torch.export.export(net, (images(2, 3, 64, 80),), dynamic_shapes=(sizes,)).module()
    with torch.no_grad():
        x = images(3, 3, 37, 50)
        torch.testing.assert_close(exported(x), net(x), rtol=1e-4, atol=1e-4)


def test_channels_last_under_bfloat16_autocast_stays_near_float32(net):
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            output = net(x.contiguous(memory_format=torch.channels_last))
    assert output.dtype == torch.bfloat16
    assert (output.float() - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [("resnet18", 512), ("efficientnet-b0", 1280), ("efficientnet-lite0", 320), ("efficientnet-lite2", 352)],
)
def test_other_encoders(encoder, channels):
    network = HybridAttentionNet(encoder=encoder).eval()
    assert network.encoder.channels[-1] == channels
    assert network(torch.rand(1, 3, 45, 64)).shape == (1, 1, 45, 64)


def test_unknown_encoder():
    with pytest.raises(ValueError, match="vgg16"):
        HybridAttentionNet(encoder="vgg16")
    with pytest.raises(ValueError, match="spatial_dims=2, got 3"):
        HybridAttentionNet(3, encoder="efficientnet-lite0")
