"""Pixel-level ROC over a whole data set, in bounded memory."""

from __future__ import annotations

import math

import numpy as np
import torch

_LIMIT = 20.0  # |logit|; float32 probabilities reach 1 at 16.6


class PixelRoc:
    """Collect probabilities of all pixels in a histogram, and give the ROC curve and the area under it.

    The bins are equally wide in logit, so that probabilities near 0 and 1, where most pixels of a trained network lie,
    are still told apart. Pixels of one bin count as ties. Memory is two integers per bin, however many images;
    scikit-learn needs all pixels at once, and torchmetrics' bins are equally wide in probability.

    Args:
        bins: number of bins between the logits -20 and 20; values beyond fall into the outermost.

    Raises:
        ValueError: fewer than 2 bins.
    """

    def __init__(self, bins: int = 8192) -> None:
        if bins < 2:
            raise ValueError(f"need 2 bins or more, got {bins}")
        self.lesion = np.zeros(bins, dtype=np.int64)
        self.background = np.zeros(bins, dtype=np.int64)

    def update(self, probability: torch.Tensor, target: torch.Tensor) -> None:
        """Add the pixels of an image or a batch.

        Args:
            probability: of lesion, from 0 to 1, any shape.
            target: mask of 0 and 1 of the same shape.

        Raises:
            ValueError: the shapes differ, or a probability is NaN or out of range.
        """
        if probability.shape != target.shape:
            raise ValueError(
                f"probability and target must have one shape, got {tuple(probability.shape)} and {tuple(target.shape)}"
            )
        if not bool(((probability >= 0) & (probability <= 1)).all()):  # false for NaN as well
            raise ValueError("probabilities must be from 0 to 1; give them after the sigmoid")
        bins = len(self.lesion)
        logits = torch.logit(probability.double()).clamp(-_LIMIT, _LIMIT)
        index = ((logits + _LIMIT) * (bins / (2 * _LIMIT))).long().clamp(max=bins - 1).flatten()
        true = (target > 0.5).flatten()
        self.lesion += torch.bincount(index[true], minlength=bins).cpu().numpy()
        self.background += torch.bincount(index[~true], minlength=bins).cpu().numpy()

    @property
    def pixels(self) -> int:
        """Pixels seen."""
        return int(self.lesion.sum() + self.background.sum())

    def auc(self) -> float:
        """Return the area under the curve; NaN where all pixels are lesion or none is, or all fall into one bin."""
        pairs = self._pairs()
        if pairs == 0:
            return math.nan
        background_below = np.cumsum(self.background) - self.background
        ordered = (self.lesion.astype(float) * (background_below + 0.5 * self.background)).sum()
        return float(ordered / pairs)

    def error_bound(self) -> float:
        """Return how far `auc` can lie from the area without bins: half the share of pairs that fall into one bin."""
        pairs = self._pairs()
        return math.nan if pairs == 0 else float((self.lesion.astype(float) * self.background).sum() / (2 * pairs))

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the curve, from the highest threshold to the lowest.

        Returns:
            False positive rates, true positive rates and the lowest probability that counts as lesion, each of one
            length; the first point is (0, 0) at threshold infinity. Bins without pixels are left out.

        Raises:
            ValueError: all pixels are lesion or none is, or all fall into one bin, so that there is no curve.
        """
        if self._pairs() == 0:
            raise ValueError("no ROC curve: it needs pixels of lesion and of background, and predictions that differ")
        filled = np.flatnonzero(self.lesion + self.background)[::-1]
        edges = filled * (2 * _LIMIT / len(self.lesion)) - _LIMIT
        rates = [
            np.concatenate([[0.0], np.cumsum(counts[filled]) / counts.sum()])
            for counts in (self.background, self.lesion)
        ]
        return rates[0], rates[1], np.concatenate([[np.inf], 1 / (1 + np.exp(-edges))])

    def _pairs(self) -> float:
        """Return the pairs of a lesion and a background pixel; 0 where there is nothing to rank."""
        if np.count_nonzero(self.lesion + self.background) < 2:
            return 0.0
        return float(self.lesion.sum()) * float(self.background.sum())


def thinned(
    curve: tuple[np.ndarray, np.ndarray, np.ndarray], step: float = 0.004
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave out the points of a curve that a drawing doesn't show.

    Args:
        curve: rates and thresholds as `PixelRoc.curve` gives them.
        step: a point stays when it lies this far, along either axis, from the last that stayed.

    Returns:
        The same three, shorter; first and last point stay.
    """
    false_rates, true_rates, _ = curve
    kept = [0]
    for index in range(1, len(false_rates) - 1):
        last = kept[-1]
        if max(false_rates[index] - false_rates[last], true_rates[index] - true_rates[last]) >= step:
            kept.append(index)
    kept.append(len(false_rates) - 1)
    return tuple(values[kept] for values in curve)  # type: ignore[return-value]
