"""Scores of predicted masks per case: overlap, surface distances and lesion detection."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

COUNTS = ("tp", "fp", "fn", "tn")
# by score, the counts that are summed in its numerator and its denominator
RATIOS = {
    "dice": (("tp", "tp"), ("tp", "tp", "fp", "fn")),
    "jaccard": (("tp",), ("tp", "fp", "fn")),
    "f1": (("tp", "tp"), ("tp", "tp", "fp", "fn")),
    "sensitivity": (("tp",), ("tp", "fn")),
    "specificity": (("tn",), ("tn", "fp")),
    "precision": (("tp",), ("tp", "fp")),
    "accuracy": (("tp", "tn"), ("tp", "tn", "fp", "fn")),
}
SCORES = tuple(RATIOS)
DISTANCES = ("hd95", "asd")
LESION_COUNTS = ("lesions", "detected_lesions", "false_lesions")


def confusion_counts(prediction: torch.Tensor, target: torch.Tensor) -> dict[str, int]:
    """Count the true and false positive and negative pixels of one case.

    MONAI counts in float32, which is wrong above 16 million pixels.

    Args:
        prediction: mask of 0 and 1, (1, *spatial).
        target: mask of 0 and 1 of the same shape.

    Returns:
        `tp`, `fp`, `fn`, `tn`.
    """
    if prediction.shape != target.shape or prediction.shape[0] != 1:
        raise ValueError(
            "prediction and target must be one-channel masks of the same shape, "
            f"got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    predicted, true = prediction > 0.5, target > 0.5
    counts = {"tp": predicted & true, "fp": predicted & ~true, "fn": ~predicted & true, "tn": ~predicted & ~true}
    return {name: int(pixels.sum()) for name, pixels in counts.items()}


def overlap_scores(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the scores of the HAN paper from pixel counts.

    MONAI computes the same ratios, but does not return the numerators and denominators, which the bootstrap of pooled
    scores needs.

    Reference:
        M. A. Aslam, A. Naveed, N. Ahmed, "Hybrid Attention Network for Accurate Breast Tumor Segmentation in
        Ultrasound Images", arXiv 2506.16592, eq. 19–24.

    Args:
        counts: `tp`, `fp`, `fn`, `tn` of one case, pooled counts, or columns of a table of cases.

    Returns:
        `dice`, `jaccard`, `f1` (equal to Dice), `sensitivity`, `specificity`, `precision` and `accuracy`, each a number
        or one number per case; NaN where the denominator is zero.
    """
    scores = {}
    for name, (over, under) in RATIOS.items():
        top, bottom = (sum(np.asarray(counts[count], dtype=float) for count in part) for part in (over, under))
        with np.errstate(invalid="ignore"):
            score = np.divide(top, bottom)
        scores[name] = score if score.ndim else float(score)
    return scores


def has_lesion(counts: Mapping[str, Any]) -> Any:
    """Return whether the ground truth has a lesion, for one case or for each case of a table."""
    return counts["tp"] + counts["fn"] > 0


def surface_distances(
    prediction: torch.Tensor, target: torch.Tensor, spacing: Sequence[float] = (1.0, 1.0)
) -> dict[str, float]:
    """Compute the distances between the contours of two masks.

    Args:
        prediction: mask of 0 and 1, (1, *spatial).
        target: mask of 0 and 1 of the same shape.
        spacing: pixel size along each axis, in the unit of the distances.

    Returns:
        `hd95`, the 95th percentile of the Hausdorff distance (maximum of both directions), and `asd`, the symmetric
        average surface distance; NaN if a mask is empty.
    """
    if len(spacing) != prediction.ndim - 1 or not all(size > 0 for size in spacing):
        raise ValueError(f"spacing must hold {prediction.ndim - 1} positive sizes, got {tuple(spacing)}")
    masks = (prediction[None] > 0.5, target[None] > 0.5)
    if not all(mask.any() for mask in masks):
        return dict.fromkeys(DISTANCES, math.nan)
    sizes = [float(size) for size in spacing]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy")  # from MONAI's own call
        hausdorff = compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=sizes)
        average = compute_average_surface_distance(*masks, include_background=True, symmetric=True, spacing=sizes)
    return {"hd95": float(hausdorff), "asd": float(average)}


def lesion_detection(prediction: torch.Tensor, target: torch.Tensor, min_iou: float = 0.1) -> dict[str, int]:
    """Count detected and false lesions: connected components of target and prediction, matched one to one.

    A lesion is detected if its match has a Jaccard index of at least `min_iou`. All other predicted components are
    false, however small. Components are connected across edges and corners.

    Reference:
        P. F. Jaeger et al., "Retina U-Net: Embarrassingly Simple Exploitation of Segmentation Supervision for Medical
        Object Detection", arXiv 1811.08661, for the threshold of 0.1: lesions need to be found, not outlined.

    Args:
        prediction: mask of 0 and 1, (1, *spatial).
        target: mask of 0 and 1 of the same shape.
        min_iou: threshold of the Jaccard index, above 0 and at most 1.

    Returns:
        `lesions` (number in the target), `detected_lesions` and `false_lesions`.
    """
    predicted, true = (np.asarray(mask[0].cpu()) > 0.5 for mask in (prediction, target))
    corners = np.ones((3,) * true.ndim)
    predicted_parts, predicted_count = ndimage.label(predicted, corners)
    true_parts, true_count = ndimage.label(true, corners)
    # joint[t, p]: pixels in true component t and predicted component p; 0 is the background
    joint = np.bincount(
        (true_parts.astype(np.int64) * (predicted_count + 1) + predicted_parts).ravel(),
        minlength=(true_count + 1) * (predicted_count + 1),
    ).reshape(true_count + 1, predicted_count + 1)
    shared = joint[1:, 1:]
    union = joint[1:].sum(axis=1)[:, None] + joint[:, 1:].sum(axis=0)[None] - shared
    overlaps = shared / union
    matches = linear_sum_assignment(np.where(overlaps >= min_iou, overlaps + 1, 0), maximize=True)
    detected = int((overlaps[matches] >= min_iou).sum())
    return {"lesions": true_count, "detected_lesions": detected, "false_lesions": predicted_count - detected}
