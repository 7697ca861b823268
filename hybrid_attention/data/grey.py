"""Grey values: converted from colours, and stretched from any range for a picture."""

from __future__ import annotations

import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, as Pillow's


def luma(colours: np.ndarray) -> np.ndarray:
    """Return the grey values of colours, by ITU-R 601-2.

    Args:
        colours: red, green and blue along the last axis; further channels, such as alpha, are ignored.

    Returns:
        float64 array without the last axis.
    """
    return colours[..., :3].astype(np.float64) @ _LUMA


def stretched(grey: np.ndarray) -> np.ndarray:
    """Stretch grey values of any range to 0 to 255.

    Args:
        grey: of any shape.

    Returns:
        Floats, not rounded, of the same shape: the darkest is 0 and the brightest 255; all 0 if all are equal.
    """
    low, high = float(grey.min()), float(grey.max())
    return (grey - low) * (255 / max(high - low, 1e-9))
