import pytest
import torch
from hybrid_attention.networks import PlainUNet

SMALL = (4, 8, 16)
CASES = [  # arguments, input shape, output shape, trainable parameters
    ({}, (1, 3, 33, 45), (1, 1, 33, 45), 34_513_345),
    ({"in_channels": 1, "channels": SMALL}, (1, 1, 8, 12), (1, 1, 8, 12), 8_274 - 2 * 9 * 4 - 5),
    ({"channels": SMALL, "out_channels": 2}, (2, 3, 4, 5), (2, 2, 4, 5), 8_274),
    ({"spatial_dims": 3, "in_channels": 1, "channels": (4, 8)}, (1, 1, 5, 8, 7), (1, 1, 5, 8, 7), 5_333),
]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return PlainUNet(channels=SMALL)


@pytest.mark.parametrize(("arguments", "input_shape", "output_shape", "parameters"), CASES)
def test_shapes_and_parameter_counts(arguments, input_shape, output_shape, parameters):
    net = PlainUNet(**arguments)
    with torch.no_grad():
        assert net(torch.rand(input_shape)).shape == output_shape
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == parameters


def test_start_carries_the_signal_to_the_deepest_scale_and_the_gradient_to_every_parameter():
    """There is no normalisation, so the initial weights must do it; with PyTorch's own or Glorot's they do not."""
    torch.manual_seed(0)
    net = PlainUNet(channels=(8, 16, 32, 64, 128))
    deepest = []
    net.encoder[-1].register_forward_hook(lambda module, args, output: deepest.append(output))
    output = net(torch.rand(2, 3, 32, 32))
    one, other = deepest[0]
    assert (one - other).std() > 0.05
    output.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_scripted_traced_and_exported_equal_eager(net, recwarn):
    x, other = torch.rand(2, 3, 16, 24), torch.rand(1, 3, 13, 9)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        dim = torch.export.Dim
        sizes = {0: dim("batch", max=64), 2: dim("height", min=8, max=512), 3: dim("width", min=8, max=512)}
        forms = {
            "scripted": torch.jit.script(net),
            "traced": torch.jit.trace(net, x, check_trace=False),
            "exported": torch.export.export(net, (x,), dynamic_shapes=(sizes,)).module(),
        }
        for form in forms.values():
            for images in (x, other):
                torch.testing.assert_close(form(images), net(images), rtol=1e-4, atol=1e-5)
    assert not [str(w.message) for w in recwarn if issubclass(w.category, torch.jit.TracerWarning)]


def test_bad_arguments_and_input_are_refused(net):
    with pytest.raises(ValueError, match=r"two scales, got \(8,\)"):
        PlainUNet(channels=(8,))
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 4"):
        PlainUNet(spatial_dims=4)
    with pytest.raises(ValueError, match=r"size 3 \(axis 1\).*at least 4"):
        net(torch.rand(1, 3, 8, 3))
    with pytest.raises(ValueError, match="expected 3 input channels, received 1"):
        net(torch.rand(1, 1, 8, 8))
