"""The size, shape and echo of a lesion, in the terms in which radiologists describe a mass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from hybrid_attention.data.grey import stretched
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import label, regionprops

_DIGITS = 4
_ELLIPTIC = 0.85  # overlap with an ellipse below which a lesion is irregular
_ROUGH = 1.1  # roughness of the margin above which it is irregular
_ROUND = 0.9  # short over long axis from which on it is round
# reach of the steps along which crossings of the outline are counted, in the larger side of a pixel: knight's moves
_REACH = 2.3
_RING = 0.5  # width of the ring of the echo, in radii of the disc of the same area


def measure_lesion(
    mask: np.ndarray, spacing: Sequence[float] | None = None, unit: str = "mm", image: np.ndarray | None = None
) -> dict[str, float | int | str | None]:
    """Measure a lesion's mask: its axes, orientation against the skin, area, shape, margin and echo.

    A mask may have several components (pixels connected at edges or corners); all measures except `lesions` and
    `total_area` are of the largest one. Lengths are in mm and areas in mm² if the spacing is known, else in pixels (if
    these are known not to be square, in the side of a square of the same area); `unit` says which.

    docs/measurements.md defines them. The words are those of BI-RADS, but computed from the mask by rules,
    not read by a radiologist; those of the shape are this project's.

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
        Plain values by name; floats have four digits. For an empty mask areas and `lesions` are 0
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
    "largest_area long_axis short_axis long_axis_angle lesion_width lesion_height width_to_height perimeter "
    "circularity equivalent_diameter ellipse_overlap margin_roughness echo_ratio posterior_echo_ratio "
    "computed_orientation computed_shape"
).split()


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


@dataclass(frozen=True, eq=False)
class Outline:
    """The outer outline of one component, holes filled."""

    lesion: np.ndarray  # the component, (H, W), bool, cut to its rows and columns
    sizes: np.ndarray  # height and width of a pixel, (2,)

    @property
    def area(self) -> float:
        """Area within the outline."""
        return float(self.lesion.sum() * self.sizes.prod())

    @cached_property
    def hull(self) -> Any:
        """Convex hull of the centres of the outer pixel edges, a `scipy.spatial.ConvexHull`."""
        lesion = self.lesion
        # the ends of each line along axis 1 span the same hull as all pixels
        first, last = lesion.argmax(axis=1), lesion.shape[1] - 1 - lesion[:, ::-1].argmax(axis=1)
        rows = np.flatnonzero(lesion.any(axis=1))
        centres = np.concatenate([np.stack([rows, ends[rows]], axis=1) for ends in (first, last)])
        middles = np.concatenate([centres + half for half in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))])
        return ConvexHull(middles * self.sizes)

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre, (2,), and second central moments, (2, 2), of the area."""
        places = np.argwhere(self.lesion) * self.sizes
        spread = np.cov(places.T, bias=True) + np.diag(self.sizes**2 / 12)  # a pixel has an extent of its own
        return places.mean(axis=0), spread

    def axes(self) -> tuple[float, float]:
        """Return the largest and smallest Feret diameter.

        scikit-image lacks the smallest, and its largest is up to 1 % too long, as it uses the hull drawn in pixels.
        """
        corners = self.hull.points[self.hull.vertices]
        normals, offsets = self.hull.equations[:, :2], self.hull.equations[:, 2]
        widths = -(corners @ normals.T + offsets).min(axis=0)  # of the hull, at a right angle to each of its sides
        return float(pdist(corners).max()), float(widths.min())

    def angle(self) -> float:
        """Return the angle of the main axis of the second moments against axis 1, from 0 to 90 degrees.

        scikit-image's `orientation` ignores the extent of the pixels, which matters if they are not square.
        """
        into_depth, across = np.abs(np.linalg.eigh(self.moments[1])[1][:, -1])
        return math.degrees(math.atan2(into_depth, across))

    @cached_property
    def perimeter(self) -> float:
        """The length of the outline: how often lines through the pixels cross it, by Crofton's formula.

        scikit-image's `perimeter_crofton` supports at most four directions and only square pixels. The perimeter is
        half the integral over all directions of the number of crossings times the distance of the lines.
        """
        steps = _steps(self.sizes)  # (n, 2), in pixels
        into_depth, across = (steps * self.sizes).T
        angles = np.arctan2(into_depth, across) % math.pi
        order = np.argsort(angles)
        gaps = np.diff(angles[order], append=angles[order][0] + math.pi)
        shares = np.empty(len(steps))  # of all directions, in radians: half the gap to either neighbour
        shares[order] = (gaps + np.roll(gaps, 1)) / 2
        padded = np.pad(self.lesion, [(most, most) for most in np.abs(steps).max(axis=0)])
        crossings = [np.count_nonzero(padded != np.roll(padded, step, axis=(0, 1))) for step in steps]
        line_distances = self.sizes.prod() / np.hypot(across, into_depth)
        return float((shares * crossings * line_distances).sum() / 2)

    def roughness(self) -> float:
        """Return the perimeter over that of the convex hull, at least 1."""
        return max(1.0, self.perimeter / float(self.hull.area))  # the "area" of a hull in 2D is its perimeter

    def ellipse_overlap(self) -> float:
        """Return the Jaccard index with the ellipse of the same centre and second moments."""
        centre, spread = self.moments
        apart = np.argwhere(self.lesion) * self.sizes - centre
        inside = np.einsum("ni,ij,nj->n", apart, np.linalg.inv(spread), apart) <= 4
        shared, ellipse = float(inside.sum() * self.sizes.prod()), 4 * math.pi * math.sqrt(np.linalg.det(spread))
        return min(1.0, shared / (ellipse + self.area - shared))


def _steps(sizes: np.ndarray) -> np.ndarray:
    """Return steps to other pixels, one per direction, spread about evenly over half a turn."""
    reach = _REACH * sizes.max()
    height, width = np.floor(reach / sizes).astype(int)
    grid = [(row, column) for column in range(width + 1) for row in range(-height, height + 1)]
    return np.array(
        [
            (row, column)
            for row, column in grid
            if math.gcd(row, column) == 1 and (row, column) != (-1, 0) and math.hypot(*(row, column) * sizes) <= reach
        ]
    )


def echo_ratio(image: np.ndarray, mask: np.ndarray, region: Any, sizes: np.ndarray) -> float | None:
    """Compare a lesion's mean grey value with that of the tissue around it.

    The tissue is a ring around the lesion, half as wide as the radius of the disc of the same area. Below 1 the lesion
    is darker than its surroundings (hypoechoic if these are fat), above 1 brighter. The grey values of an ultrasound
    image are compressed, so the ratio is not one of intensities, and depends on the device's settings; it does not
    depend on the file's grey scale, whose darkest value counts as 0.

    The ratio is None if the ring is empty or black. `mask` is of all lesions, of which the others are left out of the
    ring; `region` is the lesion, of scikit-image's `regionprops`.
    """
    reach = _RING * region.equivalent_diameter_area / 2
    margin = np.ceil(reach / sizes).astype(int)
    part = tuple(
        slice(max(side.start - more, 0), side.stop + more) for side, more in zip(region.slice, margin, strict=True)
    )
    lesion = np.zeros(image.shape, dtype=bool)
    lesion[region.slice] = region.image
    distance = ndimage.distance_transform_edt(~lesion[part], sampling=sizes)
    grey = stretched(image)[part]
    return _ratio(grey[lesion[part]], grey[(distance <= reach) & ~mask[part]])


def posterior_echo_ratio(image: np.ndarray, box: tuple[int, int, int, int]) -> float | None:
    """Compare the mean grey value of the tissue below a lesion with that of the tissue beside it, at the same depth.

    Below: the middle half of the lesion's width, as its edges cast shadows of their own, from its deepest point on over
    its own height, as far as the image reaches. Beside: on either side a strip of the same depth and half the lesion's
    width, a quarter of its width away. Above 1 there is posterior enhancement, below 1 shadowing. See `echo_ratio` for
    the grey values.

    Reference:
        K. Horsch, M. L. Giger, L. A. Venta, C. J. Vyborny, "Computerized diagnosis of breast lesions on ultrasound",
        Med Phys 29 (2002) 157, DOI 10.1118/1.1429239, which compares the same three regions by differences.

    The ratio is None if the lesion reaches the lower border, if less than a quarter of its width remains on both sides,
    or if the tissue beside is black. `box` is that of scikit-image's `regionprops`.
    """
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    grey = stretched(image)[bottom : bottom + height]

    def strip(start: float, end: float) -> np.ndarray:
        columns = [min(max(round(left + share * width), 0), image.shape[1]) for share in (start, end)]
        return grey[:, slice(*columns)]

    beside = np.concatenate([strip(-0.75, -0.25), strip(1.25, 1.75)], axis=1)
    return _ratio(strip(0.25, 0.75), beside)


def _ratio(part: np.ndarray, reference: np.ndarray) -> float | None:
    """Return the ratio of two means; None if it is undefined."""
    if part.size == 0 or reference.size == 0 or reference.max() == 0:
        return None
    return float(part.mean() / reference.mean())
