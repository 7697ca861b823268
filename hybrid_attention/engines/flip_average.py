"""Test-time augmentation by flips: the mean of a network's predictions for an image and its mirror images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

# keeps log-odds finite if the probability of all passes rounds to 0 or 1
_MARGIN = 1e-6


class FlipAverage(Inferer):
    """Run a network on flipped images, flip its maps back and average the probabilities.

    A tensor, (B, C, *spatial), is interpreted as logits of independent channels, whose sigmoids are averaged. In a
    named tuple, maps are logits of mutually exclusive regions and vectors, (B, C), class logits; their softmaxes are
    averaged. The output is the logits of the mean, so the postprocessing is the same with and without averaging.

    Args:
        inferer: runs the network, for example a `PrecisionInferer`.
        flips: axes of the image to flip, a list per pass; 0 is in depth, 1 along the skin. `[[], [1]]` averages the
            image and its mirror image.
        classes_follow: the network returns a tensor whose first channel is the lesion and whose others are class
            logits, as `MaskAndClasses` does.

    Raises:
        ValueError: `flips` is empty, or an entry is not a list of distinct axes, 0 or 1.
    """

    def __init__(
        self, inferer: Inferer, flips: Sequence[Sequence[int]] = ((), (1,)), classes_follow: bool = False
    ) -> None:
        super().__init__()
        if not isinstance(flips, (list, tuple)) or not flips or not all(_is_flip(axes) for axes in flips):
            raise ValueError(
                "flips must be a list of passes, each a list of different axes, 0 (depth) or 1 (along the skin), as "
                f"[[], [1]]; [[]] is the image as it is; got {flips!r}"
            )
        self.inferer = inferer
        self.flips = [tuple(axis + 2 for axis in axes) for axes in flips]
        self.classes_follow = classes_follow

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the logits of the mean probability.

        Args:
            inputs: (B, C, *spatial).
            network: module or function that returns a tensor or a named tuple.
            args: passed to the network.
            kwargs: passed to the network.

        Returns:
            The same type as the network's output; with a single pass the same values.
        """
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
    if not isinstance(axes, (list, tuple)) or not all(isinstance(axis, int) for axis in axes):
        return False
    return set(axes) <= {0, 1} and len(set(axes)) == len(axes)


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
