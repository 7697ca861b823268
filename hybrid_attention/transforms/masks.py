"""Masks before training and after the network: merged, cleaned, split from class logits, prepared for a server."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from hybrid_attention.data.images import to_full_frame
from hybrid_attention.data.masks import fitted_mask, merged_mask
from hybrid_attention.data.names import is_dicom, is_nifti
from hybrid_attention.data.nifti import slice_geometry
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import CommonKeys, TransformBackends, convert_data_type, convert_to_dst_type
from scipy import ndimage

CLASSES, NORMAL = "class_probability", "normal"
VOLUMES = (".nrrd", ".nii", ".nii.gz")


class MergeMasksd(MapTransform):
    """Merge the masks of one case, one per channel, into one that fits the image: lesion (1) where any has it.

    DICOM images are cropped to the tissue; a mask of the whole frame, as viewers draw it, is cropped likewise. The
    mask is compared with the `image` of the case at its original size, if there is one.

    Shape:
        - Input: (n, H, W), from `MaskReader`
        - Output: (1, H, W), float32, 0 or 1

    Raises:
        ValueError: (at the call) mask and image differ in size, or in position by their NIfTI headers.
    """

    backend: ClassVar = [TransformBackends.NUMPY]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the masks of each key merged."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._fitted(result[key], result.get(CommonKeys.IMAGE))
        return result

    @staticmethod
    def _fitted(masks: torch.Tensor | np.ndarray, image: Any) -> torch.Tensor:
        """Return the merged mask, (1, H, W), at the size of the image."""
        merged = merged_mask(list(np.asarray(masks)))
        source, file = (
            str(one.meta["filename_or_obj"]) if isinstance(one, MetaTensor) and "filename_or_obj" in one.meta else None
            for one in (image, masks)
        )
        if source is not None:
            try:
                merged = fitted_mask(merged, source, tuple(image.shape[1:]), file)
            except ValueError as error:
                raise ValueError(f"{file or source}: {error}") from None
        mask = torch.from_numpy(merged[None].astype(np.float32))
        return MetaTensor(mask, meta=masks.meta) if isinstance(masks, MetaTensor) else mask


class RemoveSmallMarksd(MapTransform):
    """Remove the connected components of masks that have fewer than `min_size` pixels.

    Pixels that touch at edges or corners are connected, as in the counts of lesions; channels are processed separately.
    MONAI's `RemoveSmallObjects` depends on scikit-image, whose versions differ on components of exactly that size.

    Args:
        keys: keys of the masks, (channels, H, W); above 0.5 is lesion.
        min_size: number of pixels of the smallest component to keep; 0 or 1 removes none.

    """

    backend: ClassVar = [TransformBackends.NUMPY]

    def __init__(self, keys: KeysCollection, min_size: int) -> None:
        super().__init__(keys)
        if not isinstance(min_size, int) or isinstance(min_size, bool) or min_size < 0:
            raise ValueError(f"min_size must be a number of pixels, an integer of at least 0, got {min_size!r}")
        self.min_size = min_size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the small components of each key removed."""
        result = dict(data)
        for key in self.key_iterator(result):
            array = convert_data_type(result[key], np.ndarray)[0]
            touching = np.ones((3,) * array.ndim)
            touching[[0, 2]] = 0  # channels are not connected
            components, _ = ndimage.label(array > 0.5, touching)
            small = np.bincount(components.ravel()) < self.min_size
            small[0] = False  # the background
            result[key] = convert_to_dst_type(np.where(small[components], 0, array), result[key])[0]
        return result


class ClearMaskIfNormald(MapTransform):
    """Set masks or probability maps to 0 if the image is classified as normal, by its `class_probability`, (classes,).

    Args:
        keys: maps of the case, of any shape.
        class_names: names of the classes, in the order of their probabilities.
        threshold: lowest probability of `normal` at which the maps are cleared; None never clears them.

    """

    def __init__(self, keys: KeysCollection, class_names: Sequence[str] | None, threshold: float | None = 0.5) -> None:
        super().__init__(keys)
        if threshold is not None:
            if class_names is None or NORMAL not in class_names:
                raise ValueError(f"the classes must include {NORMAL}, got {class_names}")
            if not 0 <= threshold <= 1:
                raise ValueError(f"threshold must be a probability from 0 to 1, or None, got {threshold}")
            self.index = list(class_names).index(NORMAL)
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case, with its maps cleared if it is classified as normal."""
        result = dict(data)
        if self.threshold is None or float(data[CLASSES][self.index]) < self.threshold:
            return result
        for key in self.key_iterator(result):
            result[key] = torch.zeros_like(result[key])
        return result


class SplitMaskAndClassesd(MapTransform):
    """Split the output of `MaskAndClasses` for one image into the logits of the lesion and class probabilities.

    The key keeps the logits of the lesion, (1, H, W); the softmax over the classes, (classes,), goes to
    `class_probability`.

    Shape:
        - Input: (1 + classes, H, W); class logits are the same at every pixel

    Raises:
        ValueError: (at the call) there are fewer than two classes.
    """

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
            result[key], result[CLASSES] = logits[:1], classes.softmax(0)
        return result


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
        class_names: names of the entries of `class_probability`, (classes,); None for a network without class head.

    Shape:
        - Input: (H, W), at the image's original size
        - Output: (W, H), the axis order of the server, or (W, H, 1) for a volume
    """

    def __init__(self, keys: KeysCollection, class_names: Sequence[str] | None = None) -> None:
        super().__init__(keys)
        self.class_names = class_names

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data`, with the entries that a server reads."""
        result = dict(data)
        path = result.get("image_path")  # only the server sets it
        if path is None:
            return result
        extension = result.get("result_extension") or (".nii.gz" if is_nifti(path) else ".png")
        result["result_extension"] = extension
        if self.class_names is not None:
            values = [round(float(value), 6) for value in result[CLASSES]]
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
