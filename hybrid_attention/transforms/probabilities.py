"""Temperature scaling of probabilities, and how far a prediction can be trusted according to them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

# near the resolution of float32 below 1; the mean over flips is limited in the same way
MARGIN = 1e-6
_ROUNDING = 1e-4


class TemperatureScaling(Transform):
    """Divide the log-odds of probabilities by a temperature.

    A temperature above 1 moves probabilities towards 0.5, one below 1 moves them away; their order and which of them
    reach 0.5 do not change. The input is probabilities, not logits, so that the mean of several passes is scaled like a
    single pass. Probabilities are clipped to 0.000001 from 0 and 1.

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
        section 4.2 (here the binary form).

    Shape:
        - Input: any, probabilities from 0 to 1
        - Output: the same shape and type
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
    """Dictionary form of `TemperatureScaling`."""

    backend: ClassVar = TemperatureScaling.backend

    def __init__(self, keys: KeysCollection, temperature: float) -> None:
        super().__init__(keys)
        self.scale = TemperatureScaling(temperature)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the probabilities of each key scaled."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.scale(result[key])
        return result


class PredictiveEntropy(Transform):
    """Compute the entropy of probabilities in bits: 0 for a certain prediction, 1 for a probability of 0.5.

    For the mean over several passes or networks it is the total uncertainty, which includes their disagreement.

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
