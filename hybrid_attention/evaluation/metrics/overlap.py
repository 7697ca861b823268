"""Overlap of a predicted and a true mask, case by case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

COUNTS = ("tp", "fp", "fn", "tn")
# by score, the counts that its numerator and its denominator add up
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


def confusion_counts(prediction: torch.Tensor, target: torch.Tensor) -> dict[str, int]:
    """Count the pixels of one case that are true and false positives and negatives.

    MONAI's own counts are float32, which is wrong above 16 million pixels.

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
    predicted, true = prediction > 0.5, target > 0.5
    counts = {"tp": predicted & true, "fp": predicted & ~true, "fn": ~predicted & true, "tn": ~predicted & ~true}
    return {name: int(pixels.sum()) for name, pixels in counts.items()}


def overlap_scores(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the scores of the HAN paper from pixel counts.

    MONAI has the same ratios, but not the numerators and denominators that intervals of pooled scores need.

    Reference:
        M. A. Aslam, A. Naveed, N. Ahmed, "Hybrid Attention Network for Accurate Breast Tumor Segmentation in
        Ultrasound Images", arXiv 2506.16592, eq. 19–24.

    Args:
        counts: `tp`, `fp`, `fn`, `tn`, of one case or pooled over many; or columns of a table of cases.

    Returns:
        `dice` and `f1` (one number under two names), `jaccard`, `sensitivity`, `specificity`, `precision`, `accuracy`,
        each a number, or an array with a number per case; NaN where a denominator is zero.
    """
    scores = {}
    for name, (over, under) in RATIOS.items():
        top, bottom = (sum(np.asarray(counts[count], dtype=float) for count in part) for part in (over, under))
        with np.errstate(invalid="ignore"):
            score = np.divide(top, bottom)
        scores[name] = score if score.ndim else float(score)
    return scores


def has_lesion(counts: Mapping[str, Any]) -> Any:
    """Tell whether the truth holds a lesion, of one case or for each case of a table."""
    return counts["tp"] + counts["fn"] > 0
