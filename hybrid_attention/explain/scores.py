"""What Grad-CAM explains: one number an image, taken from the output of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Output = str | Callable[[Any], torch.Tensor] | None


class NothingMarkedError(ValueError):
    """An image has no region to explain, because its mask is empty."""


def choose_output(result: Any, output: Output = None) -> torch.Tensor:
    """Return the tensor that is explained out of what a network returned.

    Args:
        result: what the network returned.
        output: name of a field of the result, a function of it, or None where the result is a tensor.

    Returns:
        The logits.

    Raises:
        ValueError: there is no such field, or what was chosen is not a tensor.
    """
    fields = ", ".join(getattr(result, "_fields", ())) or "no named fields"
    if isinstance(output, str):
        if output not in getattr(result, "_fields", ()):
            raise ValueError(f"the network's output has no field {output!r}; it has {fields}")
        result = getattr(result, output)
    elif output is not None:
        result = output(result)
    if result is None:
        raise ValueError(f"the network gives no {output}: it has no head for it")
    if not isinstance(result, torch.Tensor):
        raise ValueError(
            f"the network's output is a {type(result).__name__} with {fields}; choose the logits to explain with "
            "output, the name of a field or a function of the output"
        )
    return result


def image_scores(
    logits: torch.Tensor, mask: torch.Tensor | None = None, class_index: int | Sequence[int] | None = None
) -> torch.Tensor:
    """Return a score for each image: the mean logit in a mask, or the logit of a class.

    Args:
        logits: (batch, 1, *spatial) of a mask or (batch, classes).
        mask: for logits of a mask: the region, above 0.5, in their shape; None for the predicted one, where the logit
            is above 0.
        class_index: for logits of classes: one index for all images or one for each; None for the predicted class.

    Returns:
        Scores of shape (batch,).

    Raises:
        NothingMarkedError: a mask is empty.
        ValueError: the arguments don't fit the logits, or a score is NaN or infinite.
    """
    if mask is not None and class_index is not None:
        raise ValueError("give mask (what speaks for a region) or class_index (what speaks for a class), not both")
    shape = tuple(logits.shape)
    if logits.dim() == 2:
        if mask is not None:
            raise ValueError(
                f"mask needs logits of a mask, but the network's output has shape {shape}: a row of classes"
            )
        scores = _class_scores(logits, class_index)
    elif logits.dim() in (4, 5):
        if class_index is not None:
            raise ValueError(
                f"class_index={class_index} needs logits of classes, (batch, classes), but the network's output has "
                f"shape {shape}: it has no class head, or output chooses another"
            )
        scores = _region_scores(logits, mask)
    else:
        raise ValueError(f"expected logits of shape (batch, 1, *spatial) or (batch, classes), got {shape}")
    if not torch.isfinite(scores).all():
        raise ValueError(f"the scores to explain must be finite, got {scores.tolist()}")
    return scores


def _region_scores(logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    shape = tuple(logits.shape)
    if shape[1] != 1:
        raise ValueError(
            f"expected one channel of logits, got {shape[1]}; choose one with output=lambda logits: logits[:, [k]]"
        )
    if mask is not None and tuple(mask.shape) != shape:
        raise ValueError(f"mask must have the shape of the network's output, {shape}, got {tuple(mask.shape)}")
    region = logits.detach() > 0 if mask is None else mask.to(logits.device) > 0.5
    pixels = region.flatten(1).sum(dim=1)
    empty = [index for index, count in enumerate(pixels.tolist()) if count == 0]
    if empty:
        cure = "give mask" if mask is None else "give a mask that marks something"
        raise NothingMarkedError(
            f"nothing is marked in image {', '.join(map(str, empty))} of the batch: no region to explain; {cure}"
        )
    return torch.where(region, logits, 0).flatten(1).sum(dim=1) / pixels


def _class_scores(logits: torch.Tensor, class_index: int | Sequence[int] | None) -> torch.Tensor:
    batch, classes = logits.shape
    if class_index is None:
        chosen = logits.detach().argmax(dim=1).tolist()
    else:
        chosen = [class_index] * batch if isinstance(class_index, int) else [int(index) for index in class_index]
    if len(chosen) != batch:
        raise ValueError(f"class_index must be one index or {batch}, one for each image, got {len(chosen)}")
    wrong = [index for index in chosen if not 0 <= index < classes]
    if wrong:
        raise ValueError(f"class_index must be from 0 to {classes - 1}, got {wrong[0]}")
    return logits[torch.arange(batch), chosen]
