import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hybrid_attention.engines import PrecisionInferer, choose_precision, to_memory_format
from hybrid_attention.engines.inference import computes_bf16

# what keeps torch and oneDNN from using more of a processor than one with AVX2 has
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


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
    with pytest.raises(ValueError, match="precision must be one of auto, fp32, bf16, fp16, got 'half'"):
        PrecisionInferer("half")
    with pytest.raises(ValueError, match="fp16 needs a CUDA device"):
        PrecisionInferer("fp16")(torch.rand(1, 3, 8, 8), network())
    with pytest.raises(ValueError, match="channels_last must be True or False, got 'auto'"):
        to_memory_format(network(), "auto")


@pytest.mark.parametrize(("able", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_what_the_processor_computes(able, expected, monkeypatch):
    monkeypatch.setattr("hybrid_attention.engines.inference.computes_bf16", lambda kind: able)
    assert choose_precision("auto", torch.device("cpu")) == expected
    assert choose_precision("fp32", "cpu") == "fp32"
    seen, net = [], network()
    net.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    assert PrecisionInferer("auto")(torch.rand(1, 3, 8, 8), net).dtype == torch.float32
    assert seen == [torch.bfloat16 if able else torch.float32]


def test_a_gpu(monkeypatch):
    for able, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        computes_bf16.cache_clear()
        assert choose_precision("auto", "cuda:1") == expected
    computes_bf16.cache_clear()


NATIVE = "avx512_bf16" in CPU.read_text() if (CPU := Path("/proc/cpuinfo")).is_file() else False


@pytest.mark.parametrize(
    ("held_down", "able"),
    [
        ({}, NATIVE),
        *(({name: value}, False) for name, value in AVX2.items()),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, False),
    ],
    ids=str,
)
def test_this_processor_and_lesser_ones(held_down, able):
    code = """if True:
        import torch
        from hybrid_attention.engines import PrecisionInferer, choose_precision
        print(choose_precision("auto", "cpu"), choose_precision("bf16", "cpu"))
        PrecisionInferer("bf16")(torch.rand(1, 1), torch.nn.Linear(1, 1))
    """
    variables = {**{name: value for name, value in os.environ.items() if name not in AVX2}, **held_down}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout == ("bf16 bf16\n" if able else "fp32 bf16\n")
    assert done.stderr.count("no bf16 instructions") == (0 if able else 1)
