"""Grey values: from colours, stretched from any range for a picture, and how many may be read."""

from __future__ import annotations

import numpy as np
from PIL import Image

MAX_PIXELS = 50_000_000  # of an image; predicting it takes 3 GB of memory
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, as Pillow's


def to_grey(image: Image.Image) -> Image.Image:
    """Convert a PIL image of any mode to grey without clipping.

    1-bit, palette and colour images become 8-bit grey ("L", ITU-R 601-2 luma); 16-bit and 32-bit ones become float
    ("F") with unchanged values, which PIL's own conversion would clip at 255; transparent pixels become black.
    """
    if image.mode == "L":
        image.load()
        return image
    if image.mode[0] in "IF":
        return image.convert("F")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        return Image.composite(with_alpha.convert("L"), Image.new("L", image.size), with_alpha.getchannel("A"))
    return image.convert("L")


def luma(colours: np.ndarray) -> np.ndarray:
    """Return grey values (ITU-R 601-2) of red, green and blue along the last axis; further channels are ignored."""
    return colours[..., :3].astype(np.float64) @ _LUMA


def check_size(height: int, width: int) -> None:
    """Raise a ValueError for an image of more than `MAX_PIXELS` pixels."""
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"it has {width}x{height} pixels, more than {MAX_PIXELS / 1e6:g} million: crop it or save it smaller"
        )


def stretched(grey: np.ndarray) -> np.ndarray:
    """Stretch grey values to floats from 0 (the darkest) to 255 (the brightest); all 0 if all are equal."""
    low, high = float(grey.min()), float(grey.max())
    return (grey - low) * (255 / max(high - low, 1e-9))
