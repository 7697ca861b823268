"""Does a probability of 0.8 mean that eight pixels in ten are lesion?"""

from __future__ import annotations

import math

import numpy as np
import torch


class PixelCalibration:
    """Collect the reliability curve of all pixels of a data set and the expected calibration error.

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 3
        (here the binary form: mean probability against the share of lesion pixels).

    Args:
        bins: equally wide bins of probability.

    Raises:
        ValueError: no bin.
    """

    def __init__(self, bins: int = 15) -> None:
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

    def curve(self) -> list[dict[str, float]]:
        """Return the reliability curve.

        Returns:
            A row a bin that holds pixels: `low` and `high` edge, `pixels`, `mean_probability`, `lesion_fraction`.
        """
        edges = np.linspace(0, 1, len(self.pixels) + 1)
        return [
            {
                "low": float(edges[index]),
                "high": float(edges[index + 1]),
                "pixels": int(count),
                "mean_probability": float(self.probability_sum[index] / count),
                "lesion_fraction": float(self.lesion_pixels[index] / count),
            }
            for index, count in enumerate(self.pixels)
            if count
        ]

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
