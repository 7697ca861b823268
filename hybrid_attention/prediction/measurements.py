"""The size, shape and echo of a lesion, in the terms in which radiologists describe a mass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hybrid_attention.prediction.echo import echo_ratio, posterior_echo_ratio
from hybrid_attention.prediction.outline import Outline
from scipy import ndimage
from skimage.measure import label, regionprops

_DIGITS = 4
_ELLIPTIC = 0.85  # overlap with an ellipse below which a lesion is irregular
_ROUGH = 1.1  # roughness of the margin above which it is irregular
_ROUND = 0.9  # short over long axis from which on it is round


def measure_lesion(
    mask: np.ndarray, spacing: Sequence[float] | None = None, unit: str = "mm", image: np.ndarray | None = None
) -> dict[str, float | int | str | None]:
    """Measure a lesion's mask: its axes, orientation against the skin, area, shape, margin and echo.

    A mask may have several components (pixels connected at edges or corners); all measures except `lesions` and
    `total_area` are of the largest one. Lengths are in mm and areas in mm² if the spacing is known, else in pixels (if
    these are known not to be square, in the side of a square of the same area); `unit` says which.

    - `long_axis`, `short_axis`: largest and smallest Feret diameter, the distance of two parallel callipers that touch
      the lesion. The outline runs through the centres of the outer pixel edges, so smooth shapes are measured to about
      one pixel. The short axis need not be at a right angle to the long one.
    - `long_axis_angle`: angle between the skin and the main axis of the ellipse with the same second moments, from 0
      (parallel) to 90 degrees; not meaningful for a round lesion.
    - `lesion_width`, `lesion_height`: extent along the skin and in depth; `width_to_height` is their ratio.
    - `perimeter`: of the outer outline, holes filled, by Crofton's formula over eight or more directions: within 1 %
      for discs and ellipses of at least twenty pixels in diameter, up to 4 % too short for rectangles.
    - `circularity`: 4π · area / perimeter², holes filled; 1 for a disc and less for other shapes, clipped to 1 for tiny
      lesions.
    - `equivalent_diameter`: of the disc of the same area.
    - `ellipse_overlap`: Jaccard index with the ellipse of the same centre and second moments, holes filled; 1 for an
      ellipse, 0.83 for a square.
    - `margin_roughness`: perimeter over that of the convex hull, clipped to 1 where the estimate is below it; 1 for a
      smooth convex margin, more for indented, lobulated or spiculated ones.
    - `echo_ratio` and `posterior_echo_ratio`: see the functions of these names; None without an image.
    - `computed_orientation`: "parallel" if the lesion is at least as wide as tall, else "not parallel".
    - `computed_shape`: "irregular" if `ellipse_overlap` is below 0.85 or `margin_roughness` above 1.1, else "round" if
      the short axis is at least 0.9 of the long one, else "oval".

    The words are those of BI-RADS, but computed from the mask by rules, not read by a radiologist. That of the
    orientation follows BI-RADS' "wider than tall"; those of the shape are this project's: three undulations of a tenth
    of the radius still count as gentle, corners and spikes do not.

    Reference:
        C. J. D'Orsi et al., "ACR BI-RADS Atlas", 5th edition, 2013, ultrasound: orientation, shape, margin, echo
        pattern, posterior features. G. Lehmann, D. Legland, "Efficient N-Dimensional surface estimation using Crofton
        formula and run-length encoding", Insight Journal 2012, for the perimeter.

    Args:
        mask: (H, W); above 0.5 is lesion. Axis 0 runs into depth, axis 1 along the skin.
        spacing: height and width of a pixel in `unit`, or None if unknown.
        unit: "mm", or "pixel" if only the aspect ratio of the pixels is known.
        image: grey values, (H, W), for the echo; None leaves it out.

    Returns:
        Plain values by name, in the order above; floats have four digits. For an empty mask areas and `lesions` are 0
        and other measures None.

    Raises:
        ValueError: the mask is not 2D, the image has another shape, or a spacing is not positive.
    """
    lesion = np.asarray(mask) > 0.5
    if lesion.ndim != 2:
        raise ValueError(f"the mask must be of shape (H, W), got {lesion.shape}")
    if image is not None and image.shape != lesion.shape:
        raise ValueError(f"the image must have the shape of the mask, {lesion.shape}, got {image.shape}")
    if spacing is not None and (len(spacing) != 2 or not all(0 < size < math.inf for size in spacing)):
        raise ValueError(f"spacing must be height and width of a pixel, both positive, got {tuple(spacing)}")
    sizes = np.array((1.0, 1.0) if spacing is None else spacing, dtype=float)
    regions = regionprops(label(lesion, connectivity=2), spacing=sizes)
    measures: dict[str, Any] = {
        "lesions": len(regions),
        "unit": "pixel" if spacing is None else unit,
        "total_area": float(lesion.sum() * sizes.prod()),
        **dict.fromkeys(_OF_LARGEST),
        "largest_area": 0.0,
    }
    if regions:
        largest = max(regions, key=lambda region: region.num_pixels)
        measures |= _shape(largest, sizes)
        if image is not None:
            measures["echo_ratio"] = echo_ratio(image, lesion, largest, sizes)
            measures["posterior_echo_ratio"] = posterior_echo_ratio(image, largest.bbox)
    return {key: round(value, _DIGITS) if isinstance(value, float) else value for key, value in measures.items()}


_OF_LARGEST = (
    "largest_area",
    "long_axis",
    "short_axis",
    "long_axis_angle",
    "lesion_width",
    "lesion_height",
    "width_to_height",
    "perimeter",
    "circularity",
    "equivalent_diameter",
    "ellipse_overlap",
    "margin_roughness",
    "echo_ratio",
    "posterior_echo_ratio",
    "computed_orientation",
    "computed_shape",
)


def _shape(region: Any, sizes: np.ndarray) -> dict[str, Any]:
    """Measure one component, a region of scikit-image."""
    height, width = (float(size) for size in region.image.shape * sizes)
    # scikit-image leaves holes that meet the outside in a corner
    outline = Outline(ndimage.binary_fill_holes(region.image), sizes)
    perimeter, overlap, roughness = outline.perimeter, outline.ellipse_overlap(), outline.roughness()
    long_axis, short_axis = outline.axes()
    irregular = overlap < _ELLIPTIC or roughness > _ROUGH
    regular = "round" if short_axis >= _ROUND * long_axis else "oval"
    return {
        "largest_area": float(region.area),
        "long_axis": long_axis,
        "short_axis": short_axis,
        "long_axis_angle": outline.angle(),
        "lesion_width": width,
        "lesion_height": height,
        "width_to_height": width / height,
        "perimeter": perimeter,
        "circularity": min(1.0, 4 * math.pi * outline.area / perimeter**2),
        "equivalent_diameter": float(region.equivalent_diameter_area),
        "ellipse_overlap": overlap,
        "margin_roughness": roughness,
        "computed_orientation": "parallel" if width >= height else "not parallel",
        "computed_shape": "irregular" if irregular else regular,
    }
