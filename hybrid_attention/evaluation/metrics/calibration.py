"""Calibration of pixel probabilities: reliability curve, and the temperature and threshold that fit best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from hybrid_attention.transforms.probabilities import MARGIN
from scipy.optimize import brentq

BINS = 15
BOUNDS = (0.05, 20.0)  # of temperatures
THRESHOLDS = tuple(index / 100 for index in range(1, 100))
DEFAULT_THRESHOLD = 0.5
_SAME = 1e-9


class PixelCalibration:
    """Collect the reliability curve and the expected calibration error of all pixels of a data set.

    torchmetrics has only the error.

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 3
        (here the binary form: mean probability against the share of lesion pixels).

    Args:
        bins: number of bins of equal width in probability.
    """

    def __init__(self, bins: int = BINS) -> None:
        self.pixels = np.zeros(bins, dtype=np.int64)
        self.probability_sum = np.zeros(bins)
        self.lesion_pixels = np.zeros(bins, dtype=np.int64)

    def update(self, probability: torch.Tensor, target: torch.Tensor) -> None:
        """Add pixels: lesion probability from 0 to 1, and mask of 0 and 1, of any shape."""
        bins = len(self.pixels)
        values, true = probability.double().flatten(), (target > 0.5).double().flatten()
        index = (values * bins).long().clamp(max=bins - 1)
        self.pixels += torch.bincount(index, minlength=bins).cpu().numpy()
        self.probability_sum += torch.bincount(index, weights=values, minlength=bins).cpu().numpy()
        self.lesion_pixels += torch.bincount(index, weights=true, minlength=bins).long().cpu().numpy()

    def curve(self) -> pd.DataFrame:
        """Return `low`, `high` (edges), `pixels`, `mean_probability` and `lesion_fraction` of each bin with pixels."""
        edges, filled = np.linspace(0, 1, len(self.pixels) + 1), np.flatnonzero(self.pixels)
        pixels = self.pixels[filled]
        return pd.DataFrame(
            {
                "low": edges[filled],
                "high": edges[filled + 1],
                "pixels": pixels,
                "mean_probability": self.probability_sum[filled] / pixels,
                "lesion_fraction": self.lesion_pixels[filled] / pixels,
            }
        )

    def expected_error(self) -> float:
        """Return the expected calibration error, the mean gap of the bins weighted by pixels; NaN without pixels."""
        total = int(self.pixels.sum())
        return float(np.abs(self.probability_sum - self.lesion_pixels).sum() / total) if total else math.nan


def pixel_calibration(probability: torch.Tensor, target: torch.Tensor) -> PixelCalibration:
    """Return the `PixelCalibration` of a batch; see `PixelCalibration.update`."""
    calibration = PixelCalibration()
    calibration.update(probability, target)
    return calibration


def fit_temperature(probability: torch.Tensor, target: torch.Tensor) -> float:
    """Find the temperature that minimizes the mean negative log-likelihood of the pixels.

    The likelihood has a single peak over 1 / temperature: the root of its derivative.

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
        section 4.2 (here the binary form).

    Args:
        probability: lesion probability, from 0 to 1, any shape; of cases that the network was not trained on.
        target: mask of 0 and 1 of the same shape.

    Returns:
        The temperature for `TemperatureScaling`, which clips the probabilities in the same way.

    Raises:
        ValueError: the shapes differ, a probability is NaN or out of range, there is only one class of pixels, or no
            temperature within `BOUNDS` is best.
    """
    if probability.shape != target.shape:
        raise ValueError(
            f"probability and target must have the same shape, got {tuple(probability.shape)} and {tuple(target.shape)}"
        )
    if not bool(((probability >= 0) & (probability <= 1)).all()):  # also false for NaN
        raise ValueError("probabilities must be from 0 to 1; apply the sigmoid first")
    true = (target > 0.5).flatten()
    lesion_pixels = int(true.sum())
    if lesion_pixels in (0, len(true)):
        raise ValueError(f"expected pixels of lesion and of background, got {lesion_pixels} of {len(true)} of lesion")
    log_odds, truth = torch.logit(probability.double().flatten(), MARGIN), true.double()

    def slope(sharpness: float) -> float:
        return float(((log_odds * sharpness).sigmoid().sub_(truth) * log_odds).mean())

    low, high = BOUNDS
    if slope(1 / high) >= 0:
        raise ValueError(f"no temperature up to {high:g} fits: the probabilities are uninformative or reversed")
    if slope(1 / low) <= 0:
        raise ValueError(f"no temperature from {low:g} fits: the probabilities separate the classes perfectly")
    return 1 / float(brentq(slope, 1 / high, 1 / low))


@dataclass(frozen=True)
class ThresholdChoice:
    """The best threshold, the mean Dice of the lesion images at it, and the curve: `threshold` and `dice`."""

    threshold: float
    dice: float
    curve: pd.DataFrame


def choose_threshold(
    probability: torch.Tensor, target: torch.Tensor, thresholds: Sequence[float] = THRESHOLDS
) -> ThresholdChoice:
    """Choose the threshold with the highest mean Dice of the images with a lesion.

    In a tie, the threshold nearest to 0.5 is chosen, then the lower one.

    Args:
        probability: lesion probability, (cases, *spatial), of cases that the network was not trained on.
        target: masks of 0 and 1 of the same shape.
        thresholds: candidates, in ascending order.

    Raises:
        ValueError: no image has a lesion; see also `dice_at`.
    """
    scores = dice_at(probability, target, thresholds)
    lesions = ~np.isnan(scores[:, 0])
    if not lesions.any():
        raise ValueError(f"choosing a threshold needs images with a lesion, got none in {len(scores)} images")
    means = scores[lesions].mean(axis=0)
    best = np.flatnonzero(means >= means.max() - _SAME).tolist()
    chosen = min(best, key=lambda index: (round(abs(thresholds[index] - DEFAULT_THRESHOLD), 9), index))
    curve = pd.DataFrame({"threshold": thresholds, "dice": means})
    return ThresholdChoice(float(thresholds[chosen]), float(means[chosen]), curve)


def dice_at(probability: torch.Tensor, target: torch.Tensor, thresholds: Sequence[float]) -> np.ndarray:
    """Compute the Dice of each case at each threshold; a probability equal to the threshold is lesion.

    Args:
        probability: lesion probability, (cases, *spatial).
        target: masks of 0 and 1 of the same shape.
        thresholds: thresholds in ascending order.

    Returns:
        Dice, (cases, thresholds), NaN for cases without a lesion.

    Raises:
        ValueError: the shapes differ, or there is no case.
    """
    if probability.shape != target.shape or probability.ndim < 2 or len(probability) == 0:
        raise ValueError(
            "probability and target must have the same shape, (cases, *spatial), with at least one case, got "
            f"{tuple(probability.shape)} and {tuple(target.shape)}"
        )
    limits = np.asarray(thresholds, dtype=np.float32)  # as in a comparison with tensors of probabilities
    scores = np.empty((len(probability), len(limits)))
    for index, (values, mask) in enumerate(zip(probability, target, strict=True)):
        reached = np.searchsorted(limits, values.float().flatten().numpy(), side="right")  # number of thresholds
        true = (mask > 0.5).flatten().numpy()
        predicted = _from_above(reached, len(limits))
        found = _from_above(reached[true], len(limits))
        lesion = int(true.sum())
        scores[index] = 2 * found / (predicted + lesion) if lesion else np.nan
    return scores


def _from_above(reached: np.ndarray, count: int) -> np.ndarray:
    """Count the pixels that reach each threshold, from the number of thresholds that each pixel reaches."""
    return np.bincount(reached, minlength=count + 1)[::-1].cumsum()[::-1][1:]
