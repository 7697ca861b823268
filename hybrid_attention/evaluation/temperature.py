"""The temperature at which a network's probabilities fit the truth best."""

from __future__ import annotations

import torch
from hybrid_attention.transforms.temperature_scaling import MARGIN

BOUNDS = (0.05, 20.0)


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
    from scipy.optimize import brentq

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
