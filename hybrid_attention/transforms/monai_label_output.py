"""What a MONAI Label server answers with."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from hybrid_attention.data.dicom import is_dicom, to_full_frame
from hybrid_attention.data.nifti import is_nifti, slice_geometry
from monai.config import KeysCollection
from monai.transforms import MapTransform

VOLUMES = (".nrrd", ".nii", ".nii.gz")


class MonaiLabelOutputd(MapTransform):
    """Make a MONAI Label server write the mask so that it fits the image; last of all, elsewhere without effect.

    The server writes the mask as a file of the image's own format, which for JPEG changes its values and for DICOM
    gives a file without any reference to its source. With this step it is a PNG (of a NIfTI image a NIfTI file), or
    what the client asks for (`result_extension`). It has the size of the image, of DICOM that of the whole frame,
    though the network sees the tissue alone. As a volume (NRRD, NIfTI), which viewers ask for, the mask of a NIfTI or
    DICOM image has that image's spacing, origin and directions (for DICOM: as ITK reads them). Probabilities of classes
    go into the server's JSON answer: `{"classification": {"benign": 0.9, …}}`.

    Args:
        keys: key of the mask.
        class_names: names of the entries of `class_key`, (classes,); None for a network without class head.
        class_key: key of the probabilities of the classes.

    Shape:
        - Input: (W, H), at the image's own size
        - Output: (W, H), or (W, H, 1) for a volume
    """

    def __init__(
        self, keys: KeysCollection, class_names: Sequence[str] | None = None, class_key: str = "class_probability"
    ) -> None:
        super().__init__(keys)
        self.class_names = None if class_names is None else list(class_names)
        self.class_key = class_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data`, for a server with what it reads from there."""
        result = dict(data)
        path = result.get("image_path")  # the server alone gives one
        if path is None:
            return result
        extension = result.get("result_extension") or (".nii.gz" if is_nifti(path) else ".png")
        result["result_extension"] = extension
        if self.class_names is not None:
            values = [round(float(value), 6) for value in result[self.class_key]]
            result["result"] = {"classification": dict(zip(self.class_names, values, strict=True))}
        if not (is_dicom(path) or is_nifti(path)):
            return result
        place = _affine(path) if str(extension).lower().endswith(VOLUMES) else None
        for key in self.key_iterator(result):
            mask = np.asarray(result[key])
            mask = slice_geometry(path).to_file(mask) if is_nifti(path) else to_full_frame(mask, path)
            result[key] = mask if place is None or mask.ndim == 3 else mask[..., None]
        # where the server finds the image's shape, it resizes the mask to it: to the tissue, or to (W, H) of (W, H, 1)
        result.pop("image", None)
        result["image_meta_dict"] = {"original_affine": place}
        return result


def _affine(path: str | os.PathLike[str]) -> Any:
    if is_nifti(path):
        return slice_geometry(path).affine
    from monai.data import ITKReader

    reader = ITKReader()
    return reader.get_data(reader.read(path))[1]["original_affine"]
