"""ROC curve of all pixels of a data set, in bounded memory."""

from __future__ import annotations

import math

import numpy as np
import torch

_LIMIT = 20.0  # of the logits; float32 probabilities reach 1 at 16.6


class PixelRoc:
    """Collect the probabilities of all pixels in a histogram, for the ROC curve and the area under it.

    The bins have equal width in logit, to resolve probabilities near 0 and 1, where most pixels of a trained network
    are; pixels in the same bin count as ties. Memory is two integers per bin, however many images. scikit-learn needs
    all pixels at once, and the bins of torchmetrics have equal width in probability.

    Args:
        bins: number of bins between logits of -20 and 20, to which other values are clipped.
    """

    def __init__(self, bins: int = 8192) -> None:
        self.lesion = np.zeros(bins, dtype=np.int64)
        self.background = np.zeros(bins, dtype=np.int64)

    def update(self, probability: torch.Tensor, target: torch.Tensor) -> None:
        """Add the pixels of an image or a batch.

        Args:
            probability: lesion probability, any shape.
            target: mask of 0 and 1 of the same shape.

        Raises:
            ValueError: the shapes differ, or a probability is NaN or not from 0 to 1.
        """
        if probability.shape != target.shape:
            raise ValueError(
                "probability and target must have the same shape, "
                f"got {tuple(probability.shape)} and {tuple(target.shape)}"
            )
        if not bool(((probability >= 0) & (probability <= 1)).all()):  # also false for NaN
            raise ValueError("probabilities must be from 0 to 1; apply the sigmoid first")
        bins = len(self.lesion)
        logits = torch.logit(probability.double()).clamp(-_LIMIT, _LIMIT)
        index = ((logits + _LIMIT) * (bins / (2 * _LIMIT))).long().clamp(max=bins - 1).flatten()
        true = (target > 0.5).flatten()
        self.lesion += torch.bincount(index[true], minlength=bins).cpu().numpy()
        self.background += torch.bincount(index[~true], minlength=bins).cpu().numpy()

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return int(self.lesion.sum() + self.background.sum())

    def auc(self) -> float:
        """Return the area under the curve; NaN if there is only one class or all predictions are equal."""
        pairs = self._pairs()
        if pairs == 0:
            return math.nan
        background_below = np.cumsum(self.background) - self.background
        ordered = (self.lesion.astype(float) * (background_below + 0.5 * self.background)).sum()
        return float(ordered / pairs)

    def error_bound(self) -> float:
        """Return the largest possible error of `auc` from binning: half the share of pairs in the same bin."""
        pairs = self._pairs()
        return math.nan if pairs == 0 else float((self.lesion.astype(float) * self.background).sum() / (2 * pairs))

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the curve, from the highest threshold to the lowest.

        Returns:
            False-positive rates, true-positive rates and thresholds, starting with (0, 0) at threshold infinity.

        Raises:
            ValueError: there is only one class, or all predictions are equal.
        """
        if self._pairs() == 0:
            raise ValueError("no ROC curve: it needs pixels of lesion and of background, and predictions that differ")
        filled = np.flatnonzero(self.lesion + self.background)[::-1]
        edges = filled * (2 * _LIMIT / len(self.lesion)) - _LIMIT
        false_rates, true_rates = (
            np.concatenate([[0.0], np.cumsum(counts[filled]) / counts.sum()])
            for counts in (self.background, self.lesion)
        )
        return false_rates, true_rates, np.concatenate([[np.inf], 1 / (1 + np.exp(-edges))])

    def _pairs(self) -> float:
        """Return the number of pairs of a lesion and a background pixel; 0 if there is nothing to rank."""
        if np.count_nonzero(self.lesion + self.background) < 2:
            return 0.0
        return float(self.lesion.sum()) * float(self.background.sum())


def thinned(
    curve: tuple[np.ndarray, np.ndarray, np.ndarray], step: float = 0.004
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop points of a curve that a figure doesn't resolve.

    Args:
        curve: from `PixelRoc.curve`.
        step: smallest distance between kept points along either axis; the first and the last point are kept.
    """
    false_rates, true_rates, thresholds = curve
    kept = [0]
    for index in range(1, len(false_rates) - 1):
        last = kept[-1]
        if max(false_rates[index] - false_rates[last], true_rates[index] - true_rates[last]) >= step:
            kept.append(index)
    kept.append(len(false_rates) - 1)
    return false_rates[kept], true_rates[kept], thresholds[kept]
