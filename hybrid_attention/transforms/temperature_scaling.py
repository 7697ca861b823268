"""Probabilities of a network that is too sure or not sure enough, corrected by one number."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

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
