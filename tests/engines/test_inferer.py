import pytest
import torch
from hybrid_attention.engines import PrecisionInferer, to_memory_format


def network():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 8, 3)


def test_full_precision_changes_nothing():
    net, x = network(), torch.rand(2, 3, 8, 8)
    assert torch.equal(PrecisionInferer()(x, net), net(x))


def test_bf16_computes_in_bf16_and_returns_float32():
    net, x = network(), torch.rand(2, 3, 8, 8)
    seen = []
    net.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    result = PrecisionInferer("bf16", channels_last=True)(x, net)
    assert seen == [torch.bfloat16]
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, net(x), rtol=0.02, atol=0.02)


def test_memory_format_reaches_input_and_weights():
    net = to_memory_format(torch.nn.Conv2d(4, 8, 3), True)
    assert net.weight.is_contiguous(memory_format=torch.channels_last)
    seen = []
    net.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    PrecisionInferer(channels_last=True)(torch.rand(2, 4, 8, 8), net)
    PrecisionInferer(channels_last=False)(torch.rand(2, 4, 8, 8), net)
    assert seen == [True, False]


def test_volumes():
    net = to_memory_format(torch.nn.Conv3d(4, 8, 3), True)
    assert net.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert PrecisionInferer(channels_last=True)(torch.rand(2, 4, 8, 8, 8), net).shape == (2, 8, 6, 6, 6)


def test_bad_precision():
    with pytest.raises(ValueError, match="precision must be one of fp32, bf16, fp16, got 'half'"):
        PrecisionInferer("half")
    with pytest.raises(ValueError, match="fp16 needs a CUDA device"):
        PrecisionInferer("fp16")(torch.rand(1, 3, 8, 8), network())
