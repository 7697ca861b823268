"""The probability from which on a pixel is marked, chosen by Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

THRESHOLDS = tuple(index / 100 for index in range(1, 100))
USUAL = 0.5
_SAME = 1e-9


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold and what it was chosen from.

    Args:
        threshold: the chosen one.
        dice: mean over the lesion images at it.
        curve: a row a threshold, `threshold` and `dice`, in rising order.
    """

    threshold: float
    dice: float
    curve: list[dict[str, float]]


def choose_threshold(
    probability: torch.Tensor, target: torch.Tensor, thresholds: Sequence[float] = THRESHOLDS
) -> ThresholdChoice:
    """Choose the threshold of the highest mean Dice over the images with a lesion.

    Of several that are equally good, the one nearest to 0.5 is taken, and of two as near the lower. Images without
    lesion have no Dice and no say.

    Args:
        probability: of lesion, (cases, *spatial), of cases that the network was not trained on.
        target: masks of 0 and 1 of the same shape.
        thresholds: to choose from, rising.

    Returns:
        The choice.

    Raises:
        ValueError: no image has a lesion, or as for `dice_at`.
    """
    scores = dice_at(probability, target, thresholds)
    lesions = ~np.isnan(scores[:, 0])
    if not lesions.any():
        raise ValueError(
            f"a threshold is chosen by the Dice of lesion images, and none of {len(scores)} images has a lesion"
        )
    means = scores[lesions].mean(axis=0)
    best = np.flatnonzero(means >= means.max() - _SAME).tolist()
    chosen = min(best, key=lambda index: (round(abs(thresholds[index] - USUAL), 9), index))
    curve = [{"threshold": float(one), "dice": float(mean)} for one, mean in zip(thresholds, means, strict=True)]
    return ThresholdChoice(float(thresholds[chosen]), float(means[chosen]), curve)


def dice_at(probability: torch.Tensor, target: torch.Tensor, thresholds: Sequence[float]) -> np.ndarray:
    """Compute the Dice of each case at each threshold; a pixel is marked where its probability reaches the threshold.

    Args:
        probability: of lesion, (cases, *spatial).
        target: masks of 0 and 1 of the same shape.
        thresholds: in rising order.

    Returns:
        (cases, thresholds), NaN for cases without lesion.

    Raises:
        ValueError: the shapes differ, there is no case, or the thresholds are none or don't rise within (0, 1].
    """
    if probability.shape != target.shape or probability.ndim < 2 or len(probability) == 0:
        raise ValueError(
            "probability and target must be of one shape, (cases, *spatial), with one case or more, got "
            f"{tuple(probability.shape)} and {tuple(target.shape)}"
        )
    limits = np.asarray(thresholds, dtype=np.float32)  # as tensors of probabilities are compared
    if len(limits) == 0 or not (np.diff(np.concatenate([[0], limits, [1 + 1e-6]])) > 0).all():
        raise ValueError(f"thresholds must rise from above 0 to at most 1, got {list(thresholds)}")
    scores = np.empty((len(probability), len(limits)))
    for index, (values, mask) in enumerate(zip(probability, target, strict=True)):
        reached = np.searchsorted(limits, values.float().flatten().numpy(), side="right")  # how many thresholds
        true = (mask > 0.5).flatten().numpy()
        marked = _from_above(reached, len(limits))
        found = _from_above(reached[true], len(limits))
        lesion = int(true.sum())
        scores[index] = 2 * found / (marked + lesion) if lesion else np.nan
    return scores


def _from_above(reached: np.ndarray, count: int) -> np.ndarray:
    """Count the pixels that reach each threshold, from how many thresholds each pixel reaches."""
    return np.bincount(reached, minlength=count + 1)[::-1].cumsum()[::-1][1:]
