"""The outline of a lesion: its axes, angle and perimeter, and how far it is from an ellipse and from convex."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

# reach of the steps along which crossings of the outline are counted, in the larger side of a pixel: knight's moves
_REACH = 2.3


@dataclass(frozen=True, eq=False)
class Outline:
    """The outer outline of one component, holes filled.

    Args:
        lesion: the component, (H, W), bool, cut to its rows and columns.
        sizes: height and width of a pixel, (2,).
    """

    lesion: np.ndarray
    sizes: np.ndarray

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
