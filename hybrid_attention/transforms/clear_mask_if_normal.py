"""No lesion where the class head sees none."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class ClearMaskIfNormald(MapTransform):
    """Set a mask or a probability map to 0 where the image is likely to hold no lesion.

    Args:
        keys: maps of the case, of any shape.
        class_names: names of the classes, in the order of their probabilities.
        threshold: probability of `normal` from which on an image counts as one without lesion; None leaves all as is.
        class_key: key of the class probabilities, (classes,).
        normal: name of the class without lesion.
        allow_missing_keys: whether a case may lack a key.

    Raises:
        ValueError: there is no class of that name, or the threshold is no probability.
    """

    def __init__(
        self,
        keys: KeysCollection,
        class_names: Sequence[str] | None,
        threshold: float | None = 0.5,
        class_key: str = "class_probability",
        normal: str = "normal",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if threshold is not None:
            if class_names is None or normal not in class_names:
                raise ValueError(f"no class {normal!r} that could empty a mask; the classes are {class_names}")
            if not 0 <= threshold <= 1:
                raise ValueError(f"threshold must be a probability from 0 to 1, or None, got {threshold}")
            self.index = list(class_names).index(normal)
        self.threshold = threshold
        self.class_key = class_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case, emptied where it counts as one without lesion."""
        result = dict(data)
        if self.threshold is None or float(data[self.class_key][self.index]) < self.threshold:
            return result
        for key in self.key_iterator(result):
            result[key] = torch.zeros_like(result[key])
        return result
