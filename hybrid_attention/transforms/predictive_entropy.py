"""How unsure a network is of each pixel."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, ensure_tuple

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
