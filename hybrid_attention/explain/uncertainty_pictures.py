"""Where a prediction is unsure, case by case, beside what it marks and what is true."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from hybrid_attention.data.files import atomic_path
from hybrid_attention.data.grey import stretched
from hybrid_attention.data.reading import strip_suffix
from hybrid_attention.evaluation.calibrate import Calibration
from hybrid_attention.explain.heat_overlay import heat_overlay
from hybrid_attention.explain.panels import join_panels
from hybrid_attention.transforms import PredictiveEntropy
from PIL import Image
from scipy import ndimage

TRUTH = (0, 220, 0)
MASK = (255, 200, 0)
_LEAST_SIDE = 256

Plane = torch.Tensor | np.ndarray


def draw_uncertainty(
    image: Plane,
    mask: Plane,
    truth: Plane,
    entropy: Plane,
    disagreement: Plane | None = None,
    title: str = "mask yellow, truth green",
) -> np.ndarray:
    """Draw the outlines of mask and truth over the image, and beside it the entropy and the disagreement as heat.

    Args:
        image: grey values of any range, (W, H) in MONAI's axis order; small ones are enlarged by a whole number.
        mask: above 0.5 is marked, (W, H).
        truth: above 0.5 is lesion, (W, H).
        entropy: in bits, from 0 to 1, (W, H).
        disagreement: of several passes, in bits, from 0 to 1, (W, H), or None.
        title: above the first panel.

    Returns:
        uint8 array of shape (H and the line of titles, W and gaps and colour bars, 3), the axis order of pictures.

    Raises:
        ValueError: the shapes differ or are not 2D, or heat is not from 0 to 1.
        ImportError: matplotlib is missing.
    """
    planes = [np.asarray(one, dtype=np.float32) for one in (image, mask, truth, entropy)]
    planes += [] if disagreement is None else [np.asarray(disagreement, dtype=np.float32)]
    shapes = {plane.shape for plane in planes}
    if len(shapes) != 1 or planes[0].ndim != 2:
        raise ValueError(f"all planes must be 2D arrays of one shape, got {sorted(shapes)}")
    factor = max(1, -(-_LEAST_SIDE // min(planes[0].shape)))
    grey, marked, true, *heats = (np.kron(plane, np.ones((factor, factor), np.float32)) for plane in planes)
    plain = stretched(grey).round().astype(np.uint8).T
    outlined = np.repeat(plain[..., None], 3, axis=-1)
    for where, colour in ((true, TRUTH), (marked, MASK)):
        outlined[_outline(where.T > 0.5, max(1, factor // 2))] = colour
    panels = {title: outlined}
    for name, heat in zip(("entropy, bits", "disagreement, bits"), heats, strict=False):
        panels[name] = heat_overlay(grey, heat)
    return join_panels(panels)


def write_uncertainty_pictures(result: Calibration, folder: str | os.PathLike[str]) -> int:
    """Write a picture of each test case as the best variant on validation sees it, `FOLDER/uncertainty/CASE.png`.

    Its title holds the Dice and the expected Dice.

    Args:
        result: from `calibrate`.
        folder: of its files.

    Returns:
        How many pictures were written.

    Raises:
        ImportError: matplotlib is missing.
    """
    scores, test, entropy = result.scores[result.best], result.test, PredictiveEntropy()
    for index, case in enumerate(test.cases):
        dice, expected = scores.chosen_dice[index], scores.confidence[index]["expected_dice"]
        found = "no lesion" if np.isnan(dice) else f"Dice {dice:.2f}"
        picture = draw_uncertainty(
            test.images[index],
            scores.mask[index],
            test.target[index],
            entropy(scores.probability[index]),
            None if scores.disagreement is None else scores.disagreement[index],
            f"{found}, expected {expected:.2f}",
        )
        path = Path(folder) / "uncertainty" / f"{strip_suffix(case['case_id'])}.png"
        with atomic_path(path) as temporary:
            Image.fromarray(picture).save(temporary)
    return len(test.cases)


def _outline(region: np.ndarray, width: int) -> np.ndarray:
    """Return the pixels of a region that lie at its edge; the edge of the picture is none."""
    return region & ~ndimage.binary_erosion(region, iterations=width, border_value=1)
