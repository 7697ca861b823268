"""Masks before training and after the network: merged, cleaned, split from class logits, prepared for a server."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from hybrid_attention.data.dicom import is_dicom, to_full_frame, to_tissue
from hybrid_attention.data.masks import merged_mask
from hybrid_attention.data.nifti import is_nifti, place_fault, slice_geometry
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type
from scipy import ndimage


class MergeMasks(Transform):
    """Merge the masks of one case, one per channel, into one: lesion (1) where any of them has it (`merged_mask`).

    Shape:
        - Input: (n, spatial…), from `MaskReader`
        - Output: (1, spatial…), float32, 0 or 1
    """

    backend: ClassVar = [TransformBackends.NUMPY]

    def __call__(self, masks: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Return the merged mask, with the metadata of `masks` if it has any."""
        merged = torch.from_numpy(merged_mask(list(np.asarray(masks)))[None].astype(np.float32))
        return MetaTensor(merged, meta=masks.meta) if isinstance(masks, MetaTensor) else merged


class MergeMasksd(MapTransform):
    """Dictionary form of `MergeMasks`, which fits the mask to its image.

    DICOM images are cropped to the tissue; a mask of the whole frame, as viewers draw it, is cropped likewise.

    Args:
        keys: keys of the masks.
        allow_missing_keys: leave a dictionary without the key unchanged.
        image_key: key of the image, (C, *spatial), at its original size; without it the mask is not compared.

    Raises:
        ValueError: (at the call) mask and image differ in size, or in position by their NIfTI headers.
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


class RemoveSmallMarks(Transform):
    """Remove the connected components of a mask that have fewer than `min_size` pixels.

    Pixels that touch at edges or corners are connected, as in the counts of lesions; channels are processed separately.
    MONAI's `RemoveSmallObjects` depends on scikit-image, whose versions differ on components of exactly that size.

    Args:
        min_size: number of pixels (or voxels) of the smallest component to keep; 0 or 1 removes none.

    Shape:
        - Input: (channels, spatial…); above 0.5 is lesion
        - Output: the same shape and type, with 0 where a component is removed

    Raises:
        ValueError: `min_size` is not a non-negative integer.
    """

    backend: ClassVar = [TransformBackends.NUMPY]

    def __init__(self, min_size: int) -> None:
        if not isinstance(min_size, int) or isinstance(min_size, bool) or min_size < 0:
            raise ValueError(f"min_size must be a number of pixels, an integer of at least 0, got {min_size!r}")
        self.min_size = min_size

    def __call__(self, mask: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
        """Return the mask without its small components."""
        array = convert_data_type(mask, np.ndarray)[0]
        touching = np.ones((3,) * array.ndim)
        touching[[0, 2]] = 0  # channels are not connected
        components, _ = ndimage.label(array > 0.5, touching)
        small = np.bincount(components.ravel()) < self.min_size
        small[0] = False  # the background
        return convert_to_dst_type(np.where(small[components], 0, array), mask)[0]


class RemoveSmallMarksd(MapTransform):
    """Dictionary form of `RemoveSmallMarks`.

    Args:
        keys: keys of the masks.
        min_size: number of pixels of the smallest component to keep; 0 or 1 removes none.
        allow_missing_keys: leave a dictionary without the key unchanged.
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


class ClearMaskIfNormald(MapTransform):
    """Set a mask or a probability map to 0 if the image is classified as normal.

    Args:
        keys: maps of the case, of any shape.
        class_names: names of the classes, in the order of their probabilities.
        threshold: lowest probability of `normal` at which the maps are cleared; None never clears them.
        class_key: key of the class probabilities, (classes,).
        normal: name of the class without lesion.
        allow_missing_keys: whether a case may lack a key.

    Raises:
        ValueError: `normal` is not among the classes, or the threshold is not a probability.
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
                raise ValueError(f"normal must be one of the classes {class_names}, got {normal!r}")
            if not 0 <= threshold <= 1:
                raise ValueError(f"threshold must be a probability from 0 to 1, or None, got {threshold}")
            self.index = list(class_names).index(normal)
        self.threshold = threshold
        self.class_key = class_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case, with its maps cleared if it is classified as normal."""
        result = dict(data)
        if self.threshold is None or float(data[self.class_key][self.index]) < self.threshold:
            return result
        for key in self.key_iterator(result):
            result[key] = torch.zeros_like(result[key])
        return result


class SplitMaskAndClassesd(MapTransform):
    """Split the output of `MaskAndClasses` for one image into the logits of the lesion and class probabilities.

    The key keeps the logits of the lesion, (1, *spatial); the softmax over the classes goes to `class_key`, (classes,).

    Args:
        keys: keys of the logits, (1 + classes, *spatial); class logits are the same at every pixel.
        class_key: key for the class probabilities.

    Raises:
        ValueError: (at the call) there are fewer than two classes.
    """

    def __init__(self, keys: KeysCollection, class_key: str = "class_probability") -> None:
        super().__init__(keys)
        self.class_key = class_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with mask and classes split."""
        result = dict(data)
        for key in self.key_iterator(result):
            logits = result[key]
            if logits.shape[0] < 3:
                raise ValueError(
                    f"expected the logits of a lesion and of two classes or more, got shape {tuple(logits.shape)}: "
                    "does the network classify?"
                )
            classes = torch.as_tensor(logits[1:]).flatten(1)[:, 0]
            result[key], result[self.class_key] = logits[:1], classes.softmax(0)
        return result


VOLUMES = (".nrrd", ".nii", ".nii.gz")


class MonaiLabelOutputd(MapTransform):
    """Make a MONAI Label server write the mask so that it fits the image; without effect elsewhere.

    It must be the last transform. The server writes the mask in the image's format, which changes its values for JPEG
    and loses the reference to the source for DICOM. With this transform it is a PNG (a NIfTI file for a NIfTI image),
    or what the client asks for (`result_extension`). It has the size of the image; for DICOM that of the whole frame,
    although the network sees only the tissue. As a volume (NRRD, NIfTI), which viewers ask for, the mask of a NIfTI or
    DICOM image has that image's spacing, origin and directions (for DICOM: as ITK reads them). Class probabilities go
    into the server's JSON response: `{"classification": {"benign": 0.9, …}}`.

    Args:
        keys: key of the mask.
        class_names: names of the entries of `class_key`, (classes,); None for a network without class head.
        class_key: key of the probabilities of the classes.

    Shape:
        - Input: (H, W), at the image's original size
        - Output: (W, H), the axis order of the server, or (W, H, 1) for a volume
    """

    def __init__(
        self, keys: KeysCollection, class_names: Sequence[str] | None = None, class_key: str = "class_probability"
    ) -> None:
        super().__init__(keys)
        self.class_names = None if class_names is None else list(class_names)
        self.class_key = class_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data`, with the entries that a server reads."""
        result = dict(data)
        path = result.get("image_path")  # only the server sets it
        if path is None:
            return result
        extension = result.get("result_extension") or (".nii.gz" if is_nifti(path) else ".png")
        result["result_extension"] = extension
        if self.class_names is not None:
            values = [round(float(value), 6) for value in result[self.class_key]]
            result["result"] = {"classification": dict(zip(self.class_names, values, strict=True))}
        placed = is_dicom(path) or is_nifti(path)
        place = _affine(path) if placed and str(extension).lower().endswith(VOLUMES) else None
        for key in self.key_iterator(result):
            mask = np.asarray(result[key])
            mask = slice_geometry(path).to_file(mask) if is_nifti(path) else to_full_frame(mask, path).T
            result[key] = mask if place is None or mask.ndim == 3 else mask[..., None]
        # the server resizes the mask to the image's shape if it finds one: to the tissue, or to (W, H) of (W, H, 1)
        result.pop("image", None)
        result["image_meta_dict"] = {"original_affine": place}
        return result


def _affine(path: str | os.PathLike[str]) -> Any:
    if is_nifti(path):
        return slice_geometry(path).affine
    from monai.data import ITKReader

    reader = ITKReader()
    return reader.get_data(reader.read(path))[1]["original_affine"]
