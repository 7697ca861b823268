"""A heat map in colour over its image, with a colour bar."""

from __future__ import annotations

import numpy as np
import torch
from hybrid_attention.data.grey import stretched
from PIL import Image, ImageDraw, ImageFont

COLOUR_MAP = "inferno"
OPACITY = 0.5
_PANEL = (40, 40, 40)  # behind the bar, whose lower end is black


def heat_overlay(
    image: torch.Tensor | np.ndarray, heat: torch.Tensor | np.ndarray, colour_bar: bool = True
) -> np.ndarray:
    """Draw a heat map half-transparent over its grey image, in matplotlib's perceptually uniform map "inferno".

    Args:
        image: grey values of any range, (W, H) in MONAI's axis order.
        heat: from 0 to 1, (W, H).
        colour_bar: add a bar on the right with the colours from 0 (bottom) to 1 (top), before they are blended.

    Returns:
        uint8 array of shape (H, W, 3), wider with the bar, the axis order of pictures.

    Raises:
        ValueError: the shapes differ or are not 2D, or heat is not from 0 to 1.
        ImportError: matplotlib is missing.
    """
    grey, warmth = np.asarray(image, dtype=np.float32), np.asarray(heat, dtype=np.float32)
    if grey.shape != warmth.shape or grey.ndim != 2:
        raise ValueError(f"image and heat must be 2D arrays of one shape, got {grey.shape} and {warmth.shape}")
    if not (warmth.min() >= 0 and warmth.max() <= 1):
        raise ValueError(f"heat must be from 0 to 1, got {warmth.min()} to {warmth.max()}")
    colours = colour_table()
    blended = (1 - OPACITY) * stretched(grey)[..., None] + OPACITY * colours[(warmth * 255).round().astype(int)]
    picture = blended.round().astype(np.uint8).transpose(1, 0, 2)
    return np.concatenate([picture, _bar(len(picture), colours)], axis=1) if colour_bar else picture


def colour_table() -> np.ndarray:
    """Return the 256 colours of heat from 0 to 1, (256, 3), uint8.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib import colormaps
    except ImportError as error:
        raise ImportError("pictures of heat need matplotlib: pip install matplotlib") from error
    return np.asarray(colormaps[COLOUR_MAP](range(256), bytes=True))[:, :3]


def _bar(height: int, colours: np.ndarray) -> np.ndarray:
    """Return the colour bar with its labels, (height, width, 3)."""
    size = min(max(height // 16, 10), 40)  # of the letters, in pixels
    margin = min(size // 2, (height - 1) // 2)
    panel = Image.new("RGB", (2 * size + size // 2, height), _PANEL)
    ramp = np.repeat(colours[np.linspace(255, 0, height - 2 * margin).round().astype(int), None], size, axis=1)
    panel.paste(Image.fromarray(ramp), (size // 2, margin))
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(size)
    for label, y in (("1", margin), ("0", height - margin)):
        draw.text((size // 2 + size + size // 4, y), label, fill="white", font=font, anchor="lm")
    return np.asarray(panel)
