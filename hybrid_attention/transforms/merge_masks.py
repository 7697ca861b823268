"""Several masks of one case become one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

from hybrid_attention.data.masks import merged_mask


class MergeMasks(Transform):
    """Merge the channels of a mask into one: lesion (1) where any channel is brighter than half its maximum.

    Shape:
        - Input: (n, spatial…), any value range
        - Output: (1, spatial…), float32, 0 or 1
    """

    backend: ClassVar = [TransformBackends.NUMPY]

    def __call__(self, masks: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Return the merged mask, with the metadata of `masks` where it has some."""
        merged = torch.from_numpy(merged_mask(list(np.asarray(masks)))[None].astype(np.float32))
        return MetaTensor(merged, meta=masks.meta) if isinstance(masks, MetaTensor) else merged


class MergeMasksd(MapTransform):
    """Dictionary form of `MergeMasks`.

    Args:
        keys: keys of the masks.
        allow_missing_keys: leave a dictionary without the key as it is.
    """

    backend: ClassVar = MergeMasks.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.merge = MergeMasks()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the masks of each key merged."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.merge(result[key])
        return result
