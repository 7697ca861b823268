"""How far the outline of a prediction lies from the true one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

DISTANCES = ("hd95", "asd")


def surface_distances(
    prediction: torch.Tensor, target: torch.Tensor, spacing: Sequence[float] = (1.0, 1.0)
) -> dict[str, float]:
    """Compute the distances between the outlines of two masks.

    `hd95` is the 95th percentile Hausdorff distance (the larger of both directions), `asd` the symmetric average
    surface distance. Between a mask and nothing there is no distance.

    Args:
        prediction: mask of 0 and 1, (1, spatial…).
        target: mask of 0 and 1 of the same shape.
        spacing: size of a pixel along each axis; its unit is that of the distances.

    Returns:
        `hd95` and `asd`, both NaN where either mask is empty.

    Raises:
        ValueError: a spacing is not positive, or their number is not that of the axes.
    """
    if len(spacing) != prediction.ndim - 1 or not all(size > 0 for size in spacing):
        raise ValueError(f"spacing must hold {prediction.ndim - 1} positive sizes, got {tuple(spacing)}")
    marked, true = prediction[None] > 0.5, target[None] > 0.5
    if not marked.any() or not true.any():
        return dict.fromkeys(DISTANCES, math.nan)
    sizes = [float(size) for size in spacing]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy")  # MONAI's own call of MONAI
        hausdorff = compute_hausdorff_distance(marked, true, include_background=True, percentile=95, spacing=sizes)
        average = compute_average_surface_distance(marked, true, include_background=True, symmetric=True, spacing=sizes)
    return {"hd95": float(hausdorff), "asd": float(average)}
