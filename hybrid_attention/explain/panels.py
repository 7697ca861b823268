"""What a network made of an image, on one picture: image, predicted mask, processed mask, Grad-CAM."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from hybrid_attention.data.grey import stretched
from hybrid_attention.explain.heat_overlay import heat_overlay
from PIL import Image, ImageDraw, ImageFont

GAP = 4  # pixels between panels
_BACKGROUND = (40, 40, 40)
_LEAST_LETTERS = 6

Plane = torch.Tensor | np.ndarray


def draw_panels(image: Plane, probability: Plane, mask: Plane, heat: Plane | None) -> np.ndarray:
    """Draw four panels in a row, each with its title above.

    From left to right: the image; the predicted mask, which is the probability from 0 (black) to 1 (white); the
    processed mask; and the heat over the image, with its colour bar. Without heat the last panel is the image, and its
    title says that nothing was marked.

    Reference:
        J. Cheng, "The Segmentation Model for Breast Cancer Ultrasound Image Based on Attention U-Net", figure 4.

    Args:
        image: grey values of any range, (W, H) in MONAI's axis order.
        probability: of lesion, from 0 to 1, (W, H).
        mask: (W, H); above 0.5 is lesion.
        heat: from 0 to 1, (W, H), or None where there is nothing to explain.

    Returns:
        uint8 array of shape (H and the line of titles, four W and gaps and colour bar, 3), the axis order of pictures.

    Raises:
        ValueError: the shapes differ or are not 2D, or heat is not from 0 to 1.
        ImportError: matplotlib is missing, and there is heat.
    """
    grey, chance, marked = (np.asarray(array, dtype=np.float32) for array in (image, probability, mask))
    if grey.ndim != 2 or not grey.shape == chance.shape == marked.shape:
        raise ValueError(
            "image, probability and mask must be 2D arrays of one shape, "
            f"got {grey.shape}, {chance.shape} and {marked.shape}"
        )
    plain = _grey_picture(stretched(grey) / 255)
    panels = {
        "image": plain,
        "predicted mask": _grey_picture(chance.clip(0, 1)),
        "processed mask": _grey_picture(marked > 0.5),
    }
    if heat is None:
        panels["Grad-CAM: no mark"] = plain
    else:
        panels["Grad-CAM"] = heat_overlay(grey, heat)
    return join_panels(panels)


def _grey_picture(fraction: np.ndarray) -> np.ndarray:
    """Return a plane of 0 to 1, (W, H), as a picture, (H, W, 3)."""
    return np.repeat((fraction.T * 255.0).round().astype(np.uint8)[..., None], 3, axis=-1)


def join_panels(panels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Join pictures of one height in a row, each below its title.

    Args:
        panels: by title, uint8, (H, W, 3).

    Returns:
        The row, in the axis order of pictures.
    """
    height = len(next(iter(panels.values())))
    width = min(panel.shape[1] for panel in panels.values())
    size = min(max(height // 16, 10), 40)
    while size > _LEAST_LETTERS and max(ImageFont.load_default(size).getlength(title) for title in panels) > width:
        size -= 1
    font, line = ImageFont.load_default(size), 2 * size
    total = sum(panel.shape[1] for panel in panels.values()) + GAP * (len(panels) - 1)
    sheet = Image.new("RGB", (total, line + height), _BACKGROUND)
    draw, left = ImageDraw.Draw(sheet), 0
    for title, panel in panels.items():
        sheet.paste(Image.fromarray(panel), (left, line))
        draw.text((left + width // 2, line // 2), title, fill="white", font=font, anchor="mm")
        left += panel.shape[1] + GAP
    return np.asarray(sheet)
