"""Inferers: lower precision, a memory format for fast convolutions, test-time augmentation by flips."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from monai.inferers import Inferer, SimpleInferer

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
AUTO = "auto"
# values of ONEDNN_MAX_CPU_ISA with AVX-512 but without bf16; torch recognises lower ones itself
_AVX512_WITHOUT_BF16 = ("AVX512_CORE", "AVX512_CORE_VNNI")
# keeps log-odds finite if the probability of all passes rounds to 0 or 1
_MARGIN = 1e-6

logger = logging.getLogger(__name__)

Output = TypeVar("Output", bound="torch.Tensor | tuple[torch.Tensor | None, ...]")


class PrecisionInferer(SimpleInferer):
    """Run a network under autocast on any device, with its output (a tensor, list or named tuple) in float32.

    MONAI's engines use autocast on CUDA only. Training in fp16 also needs a gradient scaler: `amp: true`.

    Args:
        precision: "auto", "fp32", "bf16" or "fp16" (CUDA only); see `choose_precision`.
        channels_last: convert images to channels-last; convert the weights, too, with `to_memory_format`.
    """

    def __init__(self, precision: str = "fp32", channels_last: bool = False) -> None:
        super().__init__()
        _check(precision)
        self.precision, self.channels_last = precision, channels_last

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Output], *args: Any, **kwargs: Any) -> Output:
        """Return `network(inputs)` in float32."""
        dtype = PRECISIONS[choose_precision(self.precision, inputs.device)]
        if self.channels_last:
            layout = torch.channels_last if inputs.ndim == 4 else torch.channels_last_3d
            inputs = inputs.contiguous(memory_format=layout)
        with torch.autocast(inputs.device.type, dtype=dtype, enabled=dtype is not None):
            output = network(inputs, *args, **kwargs)
        return _in_float32(output)


def choose_precision(precision: str, device: torch.device | str) -> str:
    """Return the precision to compute in on a device: for "auto" bf16 if the device supports it, else fp32.

    Any other is returned. For bf16 on a device that emulates it, a warning is logged.
    """
    _check(precision)
    kind = torch.device(device).type
    if precision == "fp16" and kind != "cuda":
        raise ValueError("precision fp16 needs a CUDA device; on a CPU use bf16 or fp32")
    if precision == AUTO:
        return "bf16" if computes_bf16(kind) else "fp32"
    if precision == "bf16" and not computes_bf16(kind):
        _warn_of_emulation(kind)
    return precision


@cache
def computes_bf16(kind: str) -> bool:
    """Return whether a kind of device has instructions for bf16, and no environment variable keeps torch from them."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return (
        kind == "cpu"
        and torch.cpu._is_avx512_bf16_supported()  # of the processor; those with AMX have it, too
        and cpu_capability().startswith("AVX512")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        and os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() not in _AVX512_WITHOUT_BF16
    )


def cpu_capability() -> str:
    """Return the vector instructions that torch uses on this CPU, for example "AVX2"."""
    return str(torch.backends.cpu.get_cpu_capability())


@cache
def _warn_of_emulation(kind: str) -> None:
    name = f"this CPU ({cpu_capability()})" if kind == "cpu" else f"the device {kind}"
    logger.warning(
        "precision bf16: %s has no bf16 instructions; emulating them can take ten times as long as fp32; --precision "
        "auto chooses the fastest",
        name,
    )


def _check(precision: str) -> None:
    if precision not in (AUTO, *PRECISIONS):
        raise ValueError(f"precision must be one of {', '.join((AUTO, *PRECISIONS))}, got {precision!r}")


def _in_float32(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.float()
    if isinstance(output, list):
        return [_in_float32(one) for one in output]
    return type(output)(*(None if field is None else field.float() for field in output))


def to_memory_format(network: torch.nn.Module, channels_last: bool) -> torch.nn.Module:
    """Convert a network's convolution weights to channels-last in place if `channels_last`, and return the network."""
    if not isinstance(channels_last, bool):
        raise ValueError(f"channels_last must be True or False, got {channels_last!r}")
    if channels_last:
        is_3d = any(parameter.ndim == 5 for parameter in network.parameters())
        network.to(memory_format=torch.channels_last_3d if is_3d else torch.channels_last)  # type: ignore[call-overload]
    return network


class FlipAverage(Inferer):
    """Run a network on flipped images, flip its maps back and average the probabilities.

    A tensor, (B, C, *spatial), contains logits of independent channels, whose sigmoids are averaged. A named tuple
    contains logits of mutually exclusive regions, (B, C, *spatial), and of classes, (B, C), whose softmaxes are
    averaged. The logits of the mean are returned, so postprocessing is the same with and without averaging.

    Args:
        inferer: runs the network, for example a `PrecisionInferer`.
        flips: axes of the image to flip, a list per pass; 0 is in depth, 1 along the skin. `[[], [1]]` averages the
            image and its mirror image.
        classes_follow: the network returns a tensor whose first channel is the lesion and whose others are class
            logits, as `MaskAndClasses` does.
    """

    def __init__(
        self, inferer: Inferer, flips: Sequence[Sequence[int]] = ((), (1,)), classes_follow: bool = False
    ) -> None:
        super().__init__()
        if not isinstance(flips, (list, tuple)) or not flips or not all(_is_flip(axes) for axes in flips):
            raise ValueError(
                "flips must be a list of passes, each a list of distinct axes, 0 (depth) or 1 (along the skin), for "
                f"example [[], [1]]; got {flips!r}"
            )
        self.inferer, self.classes_follow = inferer, classes_follow
        self.flips = [tuple(axis + 2 for axis in axes) for axes in flips]

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the logits of the mean probability, as the network does; with a single pass the same values."""
        outputs = [
            _flipped(self.inferer(torch.flip(inputs, axes) if axes else inputs, network, *args, **kwargs), axes)
            for axes in self.flips
        ]
        first = outputs[0]
        if len(outputs) == 1:
            return first
        if not isinstance(first, torch.Tensor):
            fields = zip(*outputs, strict=True)
            return type(first)(*(None if field[0] is None else _mean_softmax(field) for field in fields))
        if not self.classes_follow:
            return _mean_sigmoid(outputs)
        lesion = _mean_sigmoid([output[:, :1] for output in outputs])
        return torch.cat([lesion, _mean_softmax([output[:, 1:] for output in outputs])], dim=1)


def _is_flip(axes: Any) -> bool:
    return isinstance(axes, (list, tuple)) and list(axes) in ([], [0], [1], [0, 1], [1, 0])


def _flipped(output: Any, axes: tuple[int, ...]) -> Any:
    if not axes:
        return output
    if isinstance(output, torch.Tensor):
        return torch.flip(output, axes) if output.ndim > 2 else output
    return type(output)(*(None if field is None else _flipped(field, axes) for field in output))


def _mean_sigmoid(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(logits)).sigmoid().mean(0).logit(_MARGIN)


def _mean_softmax(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(logits)).softmax(2).mean(0).clamp_min(_MARGIN).log()  # (passes, B, C, …)
