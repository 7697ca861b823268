"""Several masks of one case become one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from hybrid_attention.data.dicom import to_tissue
from hybrid_attention.data.masks import merged_mask
from hybrid_attention.data.nifti import place_fault
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends


class MergeMasks(Transform):
    """Merge the masks of one case, one a channel, into one: lesion (1) where any of them has it (`merged_mask`).

    Shape:
        - Input: (n, spatial…), as `MaskReader` gives them
        - Output: (1, spatial…), float32, 0 or 1
    """

    backend: ClassVar = [TransformBackends.NUMPY]

    def __call__(self, masks: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Return the merged mask, with the metadata of `masks` where it has some."""
        merged = torch.from_numpy(merged_mask(list(np.asarray(masks)))[None].astype(np.float32))
        return MetaTensor(merged, meta=masks.meta) if isinstance(masks, MetaTensor) else merged


class MergeMasksd(MapTransform):
    """Dictionary form of `MergeMasks`, which fits the mask to its image.

    Of a DICOM image the tissue alone is read; a mask of the whole frame, as viewers draw it, is cut to it.

    Args:
        keys: keys of the masks.
        allow_missing_keys: leave a dictionary without the key as it is.
        image_key: key of the image, (C, *spatial), at its own size; nothing is looked at where it holds none.

    Raises:
        ValueError: (at the call) mask and image are of different sizes, or lie elsewhere by their NIfTI headers.
    """

    backend: ClassVar = MergeMasks.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False, image_key: str = "image") -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.merge = MergeMasks()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the masks of each key merged."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._fitted(self.merge(result[key]), result.get(self.image_key))
        return result

    @staticmethod
    def _fitted(mask: torch.Tensor, image: Any) -> torch.Tensor:
        """Return the mask, (1, *spatial), at the size of the image."""
        if not isinstance(image, MetaTensor) or "filename_or_obj" not in image.meta:
            return mask
        source = str(image.meta["filename_or_obj"])
        if mask.shape[1:] != image.shape[1:] and mask.ndim == 3:
            tissue = torch.from_numpy(to_tissue(np.asarray(mask[0]), source)[None])
            mask = MetaTensor(tissue, meta=mask.meta) if isinstance(mask, MetaTensor) else tissue
        if mask.shape[1:] != image.shape[1:]:
            raise ValueError(f"{source} is of size {tuple(image.shape[1:])}, but its mask of {tuple(mask.shape[1:])}")
        file = mask.meta.get("filename_or_obj") if isinstance(mask, MetaTensor) else None
        fault = None if file is None else place_fault(str(file), source)
        if fault:
            raise ValueError(f"{file}: {fault}")
        return mask
