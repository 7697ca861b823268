"""The brightness of a lesion and of the tissue below it, against the tissue beside."""

from __future__ import annotations

from typing import Any

import numpy as np
from hybrid_attention.data.grey import stretched
from scipy import ndimage

_RING = 0.5  # width of the ring, in radii of the disc of the same area


def echo_ratio(image: np.ndarray, mask: np.ndarray, region: Any, sizes: np.ndarray) -> float | None:
    """Compare a lesion's mean grey value with that of the tissue around it.

    The tissue is a ring around the lesion, half as wide as the radius of the disc of the same area. Below 1 the lesion
    is darker than its surroundings (hypoechoic if these are fat), above 1 brighter. The grey values of an ultrasound
    image are compressed, so the ratio is not one of intensities, and depends on the device's settings; it does not
    depend on the file's grey scale, whose darkest value counts as 0.

    Args:
        image: grey values of any range, (H, W).
        mask: of all lesions, bool, (H, W); the others are excluded from the ring.
        region: the lesion, of scikit-image's `regionprops`.
        sizes: height and width of a pixel.

    Returns:
        The ratio; None if the ring is empty or black.
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

    Args:
        image: grey values of any range, (H, W).
        box: first row, first column, last row and last column of the lesion; the last ones are exclusive.

    Returns:
        The ratio; None if the lesion reaches the lower border, if less than a quarter of its width remains on both
        sides, or if the tissue beside is black.
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
