"""Overlays of a prediction on its image: errors in colour, or an outline if there is no ground truth."""

from __future__ import annotations

import numpy as np
from hybrid_attention.data.grey import stretched
from numpy.typing import ArrayLike
from scipy import ndimage

TRUE_POSITIVE = (0, 200, 0)
FALSE_POSITIVE = (230, 0, 0)
FALSE_NEGATIVE = (40, 90, 255)
OUTLINE = (255, 200, 0)
OPACITY = 0.45  # of the colours of errors


def draw_overlay(image: ArrayLike, prediction: ArrayLike, truth: ArrayLike | None = None) -> np.ndarray:
    """Draw a predicted mask over its grey image.

    With ground truth, true positives are green, false positives red and false negatives blue, as in the figures of the
    HAN paper. Without it, the outline of the prediction is drawn.

    Reference:
        M. A. Aslam, A. Naveed, N. Ahmed, "Hybrid Attention Network for Accurate Breast Tumor Segmentation in
        Ultrasound Images", arXiv 2506.16592, section 5.

    Shape:
        - image: grey values of any range, (H, W); masks: (H, W), above 0.5 is lesion
        - output: uint8, (H, W, 3)

    Raises:
        ValueError: the shapes differ or are not 2D.
    """
    grey, predicted = np.asarray(image, dtype=np.float32), np.asarray(prediction) > 0.5
    true = None if truth is None else np.asarray(truth) > 0.5
    shapes = {array.shape for array in (grey, predicted, true) if array is not None}
    if len(shapes) != 1 or grey.ndim != 2:
        raise ValueError(f"image, prediction and truth must be 2D arrays of the same shape, got {sorted(shapes)}")
    picture = np.repeat(stretched(grey)[..., None], 3, axis=-1)
    if true is None:
        width = max(1, round(min(grey.shape) / 200))
        _paint(picture, predicted & ~ndimage.binary_erosion(predicted, iterations=width), OUTLINE, 1.0)
    else:
        _paint(picture, predicted & true, TRUE_POSITIVE)
        _paint(picture, predicted & ~true, FALSE_POSITIVE)
        _paint(picture, ~predicted & true, FALSE_NEGATIVE)
    return picture.round().astype(np.uint8)


def _paint(picture: np.ndarray, where: np.ndarray, colour: tuple[int, int, int], alpha: float = OPACITY) -> None:
    picture[where] = (1 - alpha) * picture[where] + alpha * np.asarray(colour, dtype=np.float32)
