"""Was each lesion found, and how many were invented?"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

LESION_COUNTS = ("lesions", "detected_lesions", "false_lesions")
MIN_IOU = 0.1


def lesion_detection(prediction: torch.Tensor, target: torch.Tensor, min_iou: float = MIN_IOU) -> dict[str, int]:
    """Count lesions found and invented: connected components of truth and prediction, matched one to one.

    A true lesion is found when its partner overlaps it with a Jaccard index of `min_iou` or more; predicted components
    without such a partner are false, single pixels too. Components touch over edges and corners.

    scikit-image labels components, but matches none.

    Reference:
        P. F. Jaeger et al., "Retina U-Net: Embarrassingly Simple Exploitation of Segmentation Supervision for Medical
        Object Detection", arXiv 1811.08661, for the threshold of 0.1: lesions need to be found, not outlined.

    Args:
        prediction: mask of 0 and 1, (1, spatial…).
        target: mask of 0 and 1 of the same shape.
        min_iou: in (0, 1].

    Returns:
        `lesions` in the truth, `detected_lesions` of them, `false_lesions` in the prediction.

    Raises:
        ValueError: `min_iou` is out of range.
    """
    if not 0 < min_iou <= 1:
        raise ValueError(f"min_iou must be above 0 and at most 1, got {min_iou}")
    predicted, true = (np.asarray(mask[0].cpu()) > 0.5 for mask in (prediction, target))
    corners = np.ones((3,) * true.ndim)
    predicted_parts, predicted_count = ndimage.label(predicted, corners)
    true_parts, true_count = ndimage.label(true, corners)
    # joint[t, p]: pixels in true component t and predicted component p; 0 is outside
    joint = np.bincount(
        (true_parts.astype(np.int64) * (predicted_count + 1) + predicted_parts).ravel(),
        minlength=(true_count + 1) * (predicted_count + 1),
    ).reshape(true_count + 1, predicted_count + 1)
    shared = joint[1:, 1:]
    union = joint[1:].sum(axis=1)[:, None] + joint[:, 1:].sum(axis=0)[None] - shared
    overlaps = shared / union
    partners = linear_sum_assignment(np.where(overlaps >= min_iou, overlaps + 1, 0), maximize=True)
    found = int((overlaps[partners] >= min_iou).sum())
    return {"lesions": true_count, "detected_lesions": found, "false_lesions": predicted_count - found}
