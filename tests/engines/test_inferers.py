import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hybrid_attention.engines import FlipAverage, PrecisionInferer, choose_precision, to_memory_format
from hybrid_attention.engines.inferers import computes_bf16
from hybrid_attention.networks import MultiTaskOutput, MultiTaskUNet
from monai.inferers import SimpleInferer

# what keeps torch and oneDNN from using more of a processor than one with AVX2 has
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
NATIVE = "avx512_bf16" in CPU.read_text() if (CPU := Path("/proc/cpuinfo")).is_file() else False


def network():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 8, 3)


def test_bf16_computes_in_bf16_and_returns_float32():
    net, x = network(), torch.rand(2, 3, 8, 8)
    assert torch.equal(PrecisionInferer()(x, net), net(x))
    result = PrecisionInferer("bf16", channels_last=True)(x, net)
    assert result.dtype == torch.float32 and not torch.equal(result, net(x))
    torch.testing.assert_close(result, net(x), rtol=0.02, atol=0.02)

    net, x = MultiTaskUNet(in_channels=3, channels=(8, 8)).eval(), torch.rand(2, 3, 16, 16)
    output, expected = PrecisionInferer("bf16")(x, net), net(x)
    assert isinstance(output, MultiTaskOutput) and output.coarse_mask is None
    for found, exact in ((output.mask, expected.mask), (output.class_logits, expected.class_logits)):
        assert found.dtype == torch.float32 and not torch.equal(found, exact)
        torch.testing.assert_close(found, exact, rtol=0.1, atol=0.1)


def test_memory_format_reaches_input_and_weights():
    net, seen = to_memory_format(torch.nn.Conv2d(4, 8, 3), True), []
    assert net.weight.is_contiguous(memory_format=torch.channels_last)
    net.register_forward_pre_hook(lambda _, x: seen.append(x[0].is_contiguous(memory_format=torch.channels_last)))
    for channels_last in (True, False):
        PrecisionInferer(channels_last=channels_last)(torch.rand(2, 4, 8, 8), net)
    assert seen == [True, False]
    net = to_memory_format(torch.nn.Conv3d(4, 8, 3), True)
    assert net.weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_bad_settings():
    with pytest.raises(ValueError, match=r"channels_last .* 'auto'"):
        to_memory_format(network(), "auto")
    with pytest.raises(ValueError, match="'half'"):
        PrecisionInferer("half")
    with pytest.raises(ValueError, match="fp16 needs a CUDA device"):
        PrecisionInferer("fp16")(torch.rand(1, 3, 8, 8), network())


def test_a_gpu(monkeypatch):
    for able, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        computes_bf16.cache_clear()
        assert choose_precision("auto", "cuda:1") == expected
    computes_bf16.cache_clear()


@pytest.mark.parametrize(
    ("held_down", "able"),
    [({}, NATIVE), *(({name: value}, False) for name, value in (*AVX2.items(), ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")))],
    ids=str,
)
def test_this_processor_and_lesser_ones(held_down, able):
    code = """if True:
        import torch
        from hybrid_attention.engines import PrecisionInferer, choose_precision
        print(choose_precision("auto", "cpu"), choose_precision("bf16", "cpu"))
        net = torch.nn.Linear(1, 1)
        net.register_forward_hook(lambda module, inputs, output: print(output.dtype))
        print(PrecisionInferer("auto")(torch.rand(1, 1), net).dtype)
        PrecisionInferer("bf16")(torch.rand(1, 1), net)
    """
    variables = {**{name: value for name, value in os.environ.items() if name not in AVX2}, **held_down}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    precision, kind = ("bf16", "bfloat16") if able else ("fp32", "float32")
    assert done.stdout.split() == [precision, "bf16", f"torch.{kind}", "torch.float32", "torch.bfloat16"]
    assert done.stderr.count("no bf16 instructions") == (0 if able else 1)


def position(x):
    """Logits that depend on the place alone: 0, 1, 2 … along axis 0 of the plane."""
    return torch.arange(x.shape[2], dtype=torch.float32)[None, None, :, None].expand(x.shape[0], 1, -1, x.shape[3])


def test_probabilities_are_averaged_after_flipping_back():
    result = FlipAverage(SimpleInferer(), [[], [0]])(torch.zeros(1, 1, 3, 2), position)
    sigmoid = torch.tensor([0.0, 1.0, 2.0]).sigmoid()
    expected = torch.stack([(sigmoid[0] + sigmoid[2]) / 2, sigmoid[1], (sigmoid[0] + sigmoid[2]) / 2])
    torch.testing.assert_close(result.sigmoid()[0, 0, :, 0], expected)

    x, seen = torch.zeros(1, 1, 2, 2), []
    x[0, 0, 0, 1] = 1
    averaged = FlipAverage(SimpleInferer(), [[0], [1], [], [0, 1]])(x, lambda image: seen.append(image) or image)
    assert seen[0][0, 0, 1, 1] == 1 and seen[1][0, 0, 0, 0] == 1  # axes of the plane
    torch.testing.assert_close(averaged, x, atol=1e-5, rtol=0)
    assert torch.equal(FlipAverage(SimpleInferer(), [[]])(x, torch.abs), x)
    certain = torch.full((1, 1, 2, 2), 200.0)
    assert torch.isfinite(FlipAverage(SimpleInferer(), [[], [0]])(certain, torch.abs)).all()


def test_regions_and_classes_are_averaged_by_softmax():
    def named(x):
        first = float(x[0, 0, 0, 0])
        return MultiTaskOutput(torch.tensor([0.0, first])[None, :, None, None].expand(1, 2, 2, 1), None, first * one)

    def classes_follow(x):
        return torch.tensor([0.0, float(x[0, 0, 0, 0]), 0.0])[None, :, None, None].expand(1, 3, 2, 1)

    one, x = torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 1, 2, 1)
    x[0, 0, 0, 0] = 2
    result = FlipAverage(SimpleInferer(), [[], [0]])(x, named)
    assert result.coarse_mask is None
    region = (torch.tensor([0.0, 2.0]).softmax(0) + 0.5) / 2
    torch.testing.assert_close(result.mask.softmax(1)[0, :, 0, 0], region)
    torch.testing.assert_close(result.class_logits.softmax(1), ((2 * one).softmax(1) + 1 / 3) / 2)
    result = FlipAverage(SimpleInferer(), [[], [0]], classes_follow=True)(x, classes_follow)
    torch.testing.assert_close(result[:, :1], torch.zeros(1, 1, 2, 1))
    torch.testing.assert_close(result[0, 1:, 0, 0].softmax(0), region.flip(0))


@pytest.mark.parametrize("flips", [[], [0], [[-1]], [[2]], [[0, 0]], "[[]]", [["0"]], None])
def test_bad_flips(flips):
    with pytest.raises(ValueError, match="flips must be a list of passes"):
        FlipAverage(SimpleInferer(), flips)
