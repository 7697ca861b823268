"""Scores of all pixels of a data set: ROC, calibration, and the temperature and threshold that fit best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from hybrid_attention.transforms.probabilities import MARGIN
from scipy.optimize import brentq

DEFAULT_THRESHOLD = 0.5
THRESHOLDS = tuple(index / 100 for index in range(1, 100))
_TEMPERATURES = (0.05, 20.0)  # lowest and highest
_LIMIT = 20.0  # of the logits; float32 probabilities reach 1 at 16.6
_SAME = 1e-9


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
        """Add pixels: lesion probability, and mask of 0 and 1 of the same shape."""
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
        background_below = np.cumsum(self.background) - self.background
        ordered = (self.lesion.astype(float) * (background_below + 0.5 * self.background)).sum()
        pairs = self._pairs()
        return float(ordered / pairs) if pairs else math.nan

    def error_bound(self) -> float:
        """Return the largest possible error of `auc` from binning: half the share of pairs in the same bin."""
        pairs = self._pairs()
        return float((self.lesion.astype(float) * self.background).sum() / (2 * pairs)) if pairs else math.nan

    def curve(self) -> pd.DataFrame:
        """Return `false_positive_rate`, `true_positive_rate` and `threshold`, which falls from infinity."""
        filled = np.flatnonzero(self.lesion + self.background)[::-1]
        edges = filled * (2 * _LIMIT / len(self.lesion)) - _LIMIT
        false_rates, true_rates = (
            np.concatenate([[0.0], np.cumsum(counts[filled]) / counts.sum()])
            for counts in (self.background, self.lesion)
        )
        thresholds = np.concatenate([[np.inf], 1 / (1 + np.exp(-edges))])
        return pd.DataFrame(
            {"false_positive_rate": false_rates, "true_positive_rate": true_rates, "threshold": thresholds}
        )

    def _pairs(self) -> float:
        """Return the number of pairs of a lesion and a background pixel; 0 if there is nothing to rank."""
        if np.count_nonzero(self.lesion + self.background) < 2:
            return 0.0
        return float(self.lesion.sum()) * float(self.background.sum())


def thinned(curve: pd.DataFrame, step: float = 0.004) -> pd.DataFrame:
    """Drop points of a `PixelRoc.curve` that are closer than `step` along both axes, except the first and the last."""
    rates, kept = curve[["false_positive_rate", "true_positive_rate"]].to_numpy(), [0]
    for index in range(1, len(rates) - 1):
        if (rates[index] - rates[kept[-1]]).max() >= step:
            kept.append(index)
    return curve.iloc[[*kept, len(rates) - 1]]


class PixelCalibration:
    """Collect the reliability curve and the expected calibration error of all pixels of a data set.

    torchmetrics has only the error.

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 3
        (here the binary form: mean probability against the share of lesion pixels).

    Args:
        bins: number of bins of equal width in probability.
    """

    def __init__(self, bins: int = 15) -> None:
        self.pixels = np.zeros(bins, dtype=np.int64)
        self.probability_sum = np.zeros(bins)
        self.lesion_pixels = np.zeros(bins, dtype=np.int64)

    def update(self, probability: torch.Tensor, target: torch.Tensor) -> PixelCalibration:
        """Add pixels: lesion probability from 0 to 1, and mask of 0 and 1, of any shape. Returns itself."""
        bins = len(self.pixels)
        values, true = probability.double().flatten(), (target > 0.5).double().flatten()
        index = (values * bins).long().clamp(max=bins - 1)
        self.pixels += torch.bincount(index, minlength=bins).cpu().numpy()
        self.probability_sum += torch.bincount(index, weights=values, minlength=bins).cpu().numpy()
        self.lesion_pixels += torch.bincount(index, weights=true, minlength=bins).long().cpu().numpy()
        return self

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


def fit_temperature(probability: torch.Tensor, target: torch.Tensor) -> float:
    """Find the temperature that minimizes the mean negative log-likelihood of the pixels.

    The likelihood has a single peak over 1 / temperature: the root of its derivative.

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
        section 4.2 (here the binary form).

    Args:
        probability: lesion probability, any shape; of cases that the network was not trained on.
        target: mask of 0 and 1 of the same shape.

    Returns:
        The temperature for `TemperatureScaling`, which clips the probabilities in the same way.

    Raises:
        ValueError: there is only one class of pixels, or no temperature from 0.05 to 20 is best.
    """
    true = (target > 0.5).flatten()
    lesion_pixels = int(true.sum())
    if lesion_pixels in (0, len(true)):
        raise ValueError(f"expected pixels of lesion and of background, got {lesion_pixels} of {len(true)} of lesion")
    log_odds, truth = torch.logit(probability.double().flatten(), MARGIN), true.double()

    def slope(sharpness: float) -> float:
        return float(((log_odds * sharpness).sigmoid().sub_(truth) * log_odds).mean())

    low, high = _TEMPERATURES
    if slope(1 / high) >= 0:
        raise ValueError(f"no temperature up to {high:g} fits: the probabilities are uninformative or reversed")
    if slope(1 / low) <= 0:
        raise ValueError(f"no temperature from {low:g} fits: the probabilities separate the classes perfectly")
    return 1 / float(brentq(slope, 1 / high, 1 / low))


class ThresholdChoice(NamedTuple):
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
    """Compute the Dice of each case at each threshold, (cases, thresholds); NaN for cases without a lesion.

    The arguments are those of `choose_threshold`. A probability equal to the threshold is lesion.
    """
    limits = np.asarray(thresholds, dtype=np.float32)  # as in a comparison with tensors of probabilities
    scores = np.empty((len(probability), len(limits)))
    for index, (values, mask) in enumerate(zip(probability, target, strict=True)):
        reached = np.searchsorted(limits, values.float().flatten().numpy(), side="right")  # number of thresholds
        true = (mask > 0.5).flatten().numpy()
        # the pixels that reach each threshold, counted from above
        predicted, found = (
            np.bincount(pixels, minlength=len(limits) + 1)[::-1].cumsum()[::-1][1:]
            for pixels in (reached, reached[true])
        )
        lesion = int(true.sum())
        scores[index] = 2 * found / (predicted + lesion) if lesion else np.nan
    return scores
