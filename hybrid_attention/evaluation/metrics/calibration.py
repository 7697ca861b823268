"""Are eight pixels in ten lesion where the probability is 0.8? And the temperature and threshold that fit best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from hybrid_attention.transforms.calibration import MARGIN
from scipy.optimize import brentq

BINS = 15
BOUNDS = (0.05, 20.0)  # of temperatures
THRESHOLDS = tuple(index / 100 for index in range(1, 100))
DEFAULT_THRESHOLD = 0.5
_SAME = 1e-9


class PixelCalibration:
    """Collect the reliability curve of all pixels of a data set and the expected calibration error.

    torchmetrics has the error, but not the curve.

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 3
        (here the binary form: mean probability against the share of lesion pixels).

    Args:
        bins: equally wide bins of probability.

    Raises:
        ValueError: no bin.
    """

    def __init__(self, bins: int = BINS) -> None:
        if bins < 1:
            raise ValueError(f"need 1 bin or more, got {bins}")
        self.pixels = np.zeros(bins, dtype=np.int64)
        self.probability_sum = np.zeros(bins)
        self.lesion_pixels = np.zeros(bins, dtype=np.int64)

    def update(self, probability: torch.Tensor, target: torch.Tensor) -> None:
        """Add the pixels of an image or a batch.

        Args:
            probability: of lesion, from 0 to 1, any shape.
            target: mask of 0 and 1 of the same shape.
        """
        bins = len(self.pixels)
        values, true = probability.double().flatten(), (target > 0.5).double().flatten()
        index = (values * bins).long().clamp(max=bins - 1)
        self.pixels += torch.bincount(index, minlength=bins).cpu().numpy()
        self.probability_sum += torch.bincount(index, weights=values, minlength=bins).cpu().numpy()
        self.lesion_pixels += torch.bincount(index, weights=true, minlength=bins).long().cpu().numpy()

    def curve(self) -> pd.DataFrame:
        """Return the reliability curve.

        Returns:
            A row per bin that holds pixels: `low` and `high` edge, `pixels`, `mean_probability`, `lesion_fraction`.
        """
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
        """Return the expected calibration error: the mean gap of the bins, weighted by pixels; NaN without pixels."""
        total = int(self.pixels.sum())
        return float(np.abs(self.probability_sum - self.lesion_pixels).sum() / total) if total else math.nan


def pixel_calibration(probability: torch.Tensor, target: torch.Tensor) -> PixelCalibration:
    """Return the reliability curve and the expected calibration error of pixels.

    Args:
        probability: of lesion, from 0 to 1, any shape.
        target: mask of 0 and 1 of the same shape.
    """
    calibration = PixelCalibration()
    calibration.update(probability, target)
    return calibration


def fit_temperature(probability: torch.Tensor, target: torch.Tensor) -> float:
    """Find the temperature that makes the mean negative log-likelihood of pixels least.

    Every pixel counts alike; with images of one size, as a network sees them, so does every image. The likelihood has
    one peak over 1 / temperature: its derivative rises there, and its root is found.

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
        section 4.2 (here the binary form).

    Args:
        probability: of lesion, from 0 to 1, any shape; of cases that the network was not trained on.
        target: mask of 0 and 1 of the same shape.

    Returns:
        For `TemperatureScaling`, which clips the probabilities in the same way.

    Raises:
        ValueError: the shapes differ, a probability is NaN or out of range, all pixels are lesion or none is, or no
            temperature within `BOUNDS` fits best.
    """
    if probability.shape != target.shape:
        raise ValueError(
            f"probability and target must have one shape, got {tuple(probability.shape)} and {tuple(target.shape)}"
        )
    if not bool(((probability >= 0) & (probability <= 1)).all()):  # false for NaN as well
        raise ValueError("probabilities must be from 0 to 1; give them after the sigmoid")
    true = (target > 0.5).flatten()
    lesion_pixels = int(true.sum())
    if lesion_pixels in (0, len(true)):
        raise ValueError(f"a temperature needs pixels of lesion and of background, got {lesion_pixels} of {len(true)}")
    log_odds, truth = torch.logit(probability.double().flatten(), MARGIN), true.double()

    def slope(sharpness: float) -> float:
        return float(((log_odds * sharpness).sigmoid().sub_(truth) * log_odds).mean())

    low, high = BOUNDS
    if slope(1 / high) >= 0:
        raise ValueError(
            f"no temperature up to {high:g} fits: the probabilities say nothing of the truth, or the opposite of it"
        )
    if slope(1 / low) <= 0:
        raise ValueError(
            f"no temperature from {low:g} on fits: the probabilities tell lesion from background perfectly"
        )
    return 1 / float(brentq(slope, 1 / high, 1 / low))


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold and what it was chosen from.

    Args:
        threshold: the chosen one.
        dice: mean over the lesion images at it.
        curve: a row per threshold, `threshold` and `dice`, in rising order.
    """

    threshold: float
    dice: float
    curve: pd.DataFrame


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
    chosen = min(best, key=lambda index: (round(abs(thresholds[index] - DEFAULT_THRESHOLD), 9), index))
    curve = pd.DataFrame({"threshold": thresholds, "dice": means})
    return ThresholdChoice(float(thresholds[chosen]), float(means[chosen]), curve)


def dice_at(probability: torch.Tensor, target: torch.Tensor, thresholds: Sequence[float]) -> np.ndarray:
    """Compute the Dice of each case at each threshold; a pixel is lesion from the threshold on.

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
        predicted = _from_above(reached, len(limits))
        found = _from_above(reached[true], len(limits))
        lesion = int(true.sum())
        scores[index] = 2 * found / (predicted + lesion) if lesion else np.nan
    return scores


def _from_above(reached: np.ndarray, count: int) -> np.ndarray:
    """Count the pixels that reach each threshold, from how many thresholds each pixel reaches."""
    return np.bincount(reached, minlength=count + 1)[::-1].cumsum()[::-1][1:]
