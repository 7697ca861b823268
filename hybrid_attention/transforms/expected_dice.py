"""What a mask is worth by the network's own account."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from monai.transforms import Transform
from monai.utils import TransformBackends


class ExpectedDice(Transform):
    """Estimate the Dice of a mask from the probabilities that it was made of, without the truth.

    2 · (sum of the probabilities inside the mask) / (pixels of the mask + sum of all probabilities): the ratio of the
    expected values, close to the expected ratio where pixels are independent. It is as good as the probabilities are:
    calibrate them (`TemperatureScaling`).

    A Dice is defined where there is a lesion. An empty mask then scores 0, so 0 is what is expected of one, however
    sure the network is that there is nothing: 0 says "worthless if there is a lesion", not "wrong".

    Reference:
        B. L. C. Borges, B. M. Pacheco, D. Silva, "Soft Dice Confidence: A Near-Optimal Confidence Estimator for
        Selective Prediction in Semantic Segmentation", arXiv 2402.10665.

    Shape:
        - Input: probabilities from 0 to 1 and a mask of one shape, any
        - Output: a number from 0 to 1
    """

    backend: ClassVar = [TransformBackends.NUMPY]

    def __call__(self, probability: torch.Tensor | np.ndarray, mask: torch.Tensor | np.ndarray) -> float:
        """Return the expected Dice.

        Args:
            probability: of lesion.
            mask: above 0.5 is marked.

        Raises:
            ValueError: the shapes differ, or a probability is NaN or out of range.
        """
        chance, marked = np.asarray(probability, dtype=np.float64), np.asarray(mask) > 0.5
        if chance.shape != marked.shape:
            raise ValueError(f"probability and mask must have one shape, got {chance.shape} and {marked.shape}")
        if not ((chance > -1e-4) & (chance < 1 + 1e-4)).all():  # false for NaN as well
            raise ValueError(
                f"probabilities must be from 0 to 1 (after the sigmoid), got {chance.min()} to {chance.max()}"
            )
        chance = chance.clip(0, 1)  # interpolation rounds
        inside = float(chance[marked].sum())
        return 2 * inside / (int(marked.sum()) + float(chance.sum())) if marked.any() else 0.0
