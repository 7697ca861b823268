"""A case at the size of its file, where networks that see images at other sizes can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from hybrid_attention.data.dicom import to_tissue
from hybrid_attention.data.masks import merged_mask, read_mask
from hybrid_attention.data.reading import read_grey
from torch.nn import functional as F


class Planes(NamedTuple):
    """What a case is scored and drawn from, each (1, W, H).

    Args:
        image: grey values.
        prediction: mask, 0 and 1.
        target: true mask, 0 and 1.
        probability: of lesion, or None.
    """

    image: torch.Tensor
    prediction: torch.Tensor
    target: torch.Tensor
    probability: torch.Tensor | None


def at_original_size(case: Mapping[str, Any], probability: torch.Tensor, threshold: float) -> Planes:
    """Return image and truth of a case as their files have them, and a prediction enlarged to them.

    Of a DICOM image this is the tissue, to which masks of the whole frame are cut, as in training.

    Args:
        case: with the paths `image` and `label`, one mask file or several.
        probability: of lesion at the network's size, (1, W, H); enlarged bilinearly, before the threshold.
        threshold: from which on a pixel is lesion.
    """
    image = torch.as_tensor(read_grey(case["image"])).float()[None]
    masks = [to_tissue(read_mask(path), case["image"]) for path in case["label"]]
    target = torch.as_tensor(merged_mask(masks)).float()[None] if masks else torch.zeros_like(image)
    enlarged = F.interpolate(probability[None].float(), size=image.shape[1:], mode="bilinear", align_corners=False)[0]
    return Planes(image, (enlarged >= threshold).float(), target, enlarged)
