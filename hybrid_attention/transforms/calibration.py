"""Probabilities: tempered, and what they say of how far a prediction can be trusted."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, ensure_tuple

# float32 holds little more between a probability and 1; a mean over flips ends here, too
MARGIN = 1e-6


class TemperatureScaling(Transform):
    """Divide the log-odds of probabilities by a temperature.

    Above 1 it draws probabilities towards one half, below 1 it pushes them away; their order stays, and what reaches
    one half stays. It takes probabilities, not logits, so that the mean of several passes is scaled like a single pass.
    Probabilities nearer to 0 or 1 than 0.000001 are scaled as if they were that far away.

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
        section 4.2 (here the binary form).

    Args:
        temperature: above 0; 1 returns the very input.

    Shape:
        - Input: any, probabilities from 0 to 1
        - Output: the same shape and type

    Raises:
        ValueError: the temperature is no finite number above 0.
    """

    backend: ClassVar = [TransformBackends.TORCH]

    def __init__(self, temperature: float) -> None:
        number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
        if not number or not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be a finite number above 0 (1 changes nothing), got {temperature!r}")
        self.temperature = float(temperature)

    def __call__(self, probability: torch.Tensor) -> torch.Tensor:
        """Return the scaled probabilities."""
        if self.temperature == 1:
            return probability
        return (torch.logit(probability, MARGIN) / self.temperature).sigmoid()


class TemperatureScalingd(MapTransform):
    """Dictionary form of `TemperatureScaling`.

    Args:
        keys: keys of the probabilities.
        temperature: above 0; 1 changes nothing.
        allow_missing_keys: leave a dictionary without the key as it is.
    """

    backend: ClassVar = TemperatureScaling.backend

    def __init__(self, keys: KeysCollection, temperature: float, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scale = TemperatureScaling(temperature)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the probabilities of each key scaled."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.scale(result[key])
        return result


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


_ROUNDING = 1e-4


class PredictiveEntropy(Transform):
    """Compute the entropy of probabilities in bits: 0 where the network is sure, 1 where it says one half.

    Of the mean over several passes or networks it is the whole uncertainty, doubt and disagreement alike.

    Reference:
        C. E. Shannon, "A Mathematical Theory of Communication", Bell Syst. Tech. J. 27 (1948) 379–423, figure 7.

    Shape:
        - Input: any, probabilities from 0 to 1
        - Output: the same shape, from 0 to 1

    Raises:
        ValueError: (at the call) a probability is NaN or out of range.
    """

    backend: ClassVar = [TransformBackends.TORCH]

    def __call__(self, probability: torch.Tensor) -> torch.Tensor:
        """Return the entropy."""
        if not bool(((probability >= -_ROUNDING) & (probability <= 1 + _ROUNDING)).all()):  # false for NaN as well
            raise ValueError(
                "probabilities must be from 0 to 1 (after the sigmoid), "
                f"got {float(probability.min())} to {float(probability.max())}"
            )
        chance = probability.clamp(0, 1)  # interpolation rounds
        nats = torch.special.entr(chance) + torch.special.entr(1 - chance)
        return (nats / math.log(2)).clamp(0, 1)


class PredictiveEntropyd(MapTransform):
    """Write the entropy of probabilities under keys of its own.

    Args:
        keys: keys of the probabilities, which stay.
        names: where the entropies go, one a key.
        allow_missing_keys: leave a dictionary without the key as it is.

    Raises:
        ValueError: keys and names differ in number.
    """

    backend: ClassVar = PredictiveEntropy.backend

    def __init__(self, keys: KeysCollection, names: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.names = ensure_tuple(names)
        if len(self.names) != len(self.keys):
            raise ValueError(f"need one name a key, got the keys {self.keys} and the names {self.names}")
        self.entropy = PredictiveEntropy()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the entropies."""
        result = dict(data)
        for key, name in self.key_iterator(result, self.names):
            result[name] = self.entropy(result[key])
        return result
