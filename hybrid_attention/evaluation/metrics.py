"""Overlap of a predicted and a true mask, case by case."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.metrics import compute_confusion_matrix_metric

COUNTS = ("tp", "fp", "fn", "tn")
SCORES = ("dice", "jaccard", "f1", "sensitivity", "specificity", "precision", "accuracy")
_MONAI_NAMES = {"dice": "f1 score", "f1": "f1 score", "jaccard": "threat score"}


def confusion_counts(prediction: torch.Tensor, target: torch.Tensor) -> dict[str, int]:
    """Count the pixels of one case that are true and false positives and negatives.

    Args:
        prediction: mask of 0 and 1, (1, spatial…).
        target: mask of 0 and 1 of the same shape.

    Returns:
        `tp`, `fp`, `fn`, `tn`.

    Raises:
        ValueError: the shapes differ or there is more than one channel.
    """
    if prediction.shape != target.shape or prediction.shape[0] != 1:
        raise ValueError(
            "prediction and target must be one-channel masks of one shape, "
            f"got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    marked, true = prediction > 0.5, target > 0.5  # MONAI's own counts are float32, wrong above 16 million pixels
    counts = {"tp": marked & true, "fp": marked & ~true, "fn": ~marked & true, "tn": ~marked & ~true}
    return {name: int(pixels.sum()) for name, pixels in counts.items()}


def overlap_scores(counts: Mapping[str, float]) -> dict[str, float]:
    """Compute the scores of the HAN paper from pixel counts.

    Reference:
        M. A. Aslam, A. Naveed, N. Ahmed, "Hybrid Attention Network for Accurate Breast Tumor Segmentation in
        Ultrasound Images", arXiv 2506.16592, eq. 19–24.

    Args:
        counts: `tp`, `fp`, `fn`, `tn`, of one case or pooled over many.

    Returns:
        `dice` and `f1` (one number under two names), `jaccard`, `sensitivity`, `specificity`, `precision`, `accuracy`;
        NaN where a denominator is zero.
    """
    matrix = torch.tensor([counts["tp"], counts["fp"], counts["tn"], counts["fn"]], dtype=torch.float64)
    return {name: float(compute_confusion_matrix_metric(_MONAI_NAMES.get(name, name), matrix)) for name in SCORES}
