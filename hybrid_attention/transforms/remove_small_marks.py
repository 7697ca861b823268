"""Marks of a few pixels are taken out of a mask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type
from scipy import ndimage


class RemoveSmallMarks(Transform):
    """Remove the connected components of a mask that have fewer than `min_size` pixels.

    Components touch over edges and corners, as in the counts of lesions; channels are looked at one by one. MONAI's
    `RemoveSmallObjects` needs scikit-image, whose version decides whether components of exactly that size stay.

    Args:
        min_size: number of pixels (or voxels) of the smallest component that stays; 0 or 1 removes none.

    Shape:
        - Input: (channels, spatial…); above 0.5 is marked
        - Output: the same shape and type, with 0 where a component is removed

    Raises:
        ValueError: `min_size` is no whole number from 0 on.
    """

    backend: ClassVar = [TransformBackends.NUMPY]

    def __init__(self, min_size: int) -> None:
        if not isinstance(min_size, int) or isinstance(min_size, bool) or min_size < 0:
            raise ValueError(f"min_size must be a number of pixels, a whole number from 0 on, got {min_size!r}")
        self.min_size = min_size

    def __call__(self, mask: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
        """Return the mask without its small components."""
        array = convert_data_type(mask, np.ndarray)[0]
        touching = np.ones((3,) * array.ndim)
        touching[[0, 2]] = 0  # not from channel to channel
        components, _ = ndimage.label(array > 0.5, touching)
        small = np.bincount(components.ravel()) < self.min_size
        small[0] = False  # what is not marked
        return convert_to_dst_type(np.where(small[components], 0, array), mask)[0]


class RemoveSmallMarksd(MapTransform):
    """Dictionary form of `RemoveSmallMarks`.

    Args:
        keys: keys of the masks.
        min_size: number of pixels of the smallest component that stays; 0 or 1 removes none.
        allow_missing_keys: leave a dictionary without the key as it is.
    """

    backend: ClassVar = RemoveSmallMarks.backend

    def __init__(self, keys: KeysCollection, min_size: int, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.remove = RemoveSmallMarks(min_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the small components of each key removed."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.remove(result[key])
        return result
