"""Pictures of heat maps, predictions and their uncertainty, with titles and colour bars."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from hybrid_attention.data.grey import stretched
from hybrid_attention.data.names import strip_suffix
from hybrid_attention.data.writing import atomic_path
from hybrid_attention.evaluation.calibrate import Calibration
from hybrid_attention.transforms import PredictiveEntropy
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Plane = torch.Tensor | np.ndarray

GAP = 4  # pixels between panels
TRUTH = (0, 220, 0)  # colours of outlines
MASK = (255, 200, 0)
_OPACITY = 0.5  # of heat
_BACKGROUND = (40,) * 3
_PER_ROW = 4  # panels of attention
_MIN_SIDE = 256  # smaller uncertainty pictures are enlarged


def heat_overlay(image: Plane, heat: Plane, colour_bar: bool = True) -> np.ndarray:
    """Draw a half-transparent heat map over its image, in matplotlib's colour map "inferno".

    Args:
        image: grey values of any range, (H, W).
        heat: heat from 0 to 1, (H, W).
        colour_bar: add a bar with the colours from 0 (bottom) to 1 (top) on the right.

    Returns:
        uint8 array of shape (H, W, 3), wider with the bar.
    """
    from matplotlib import colormaps

    grey, warmth = _planes(image, heat)
    if not (warmth.min() >= 0 and warmth.max() <= 1):
        raise ValueError(f"heat must be from 0 to 1, got {warmth.min()} to {warmth.max()}")
    colours = np.asarray(colormaps["inferno"](range(256), bytes=True))[:, :3]
    blended = (1 - _OPACITY) * stretched(grey)[..., None] + _OPACITY * colours[(warmth * 255).round().astype(int)]
    picture = blended.round().astype(np.uint8)
    return np.concatenate([picture, _bar(len(picture), colours)], axis=1) if colour_bar else picture


def draw_panels(image: Plane, probability: Plane, mask: Plane, heat: Plane | None) -> np.ndarray:
    """Draw four titled panels in a row: image, predicted probability, processed mask and heat map.

    Reference:
        J. Cheng, "The Segmentation Model for Breast Cancer Ultrasound Image Based on Attention U-Net", figure 4.

    Args:
        image: grey values of any range, (H, W).
        probability: lesion probability, (H, W), drawn from 0 (black) to 1 (white).
        mask: processed mask, (H, W), lesion above 0.5.
        heat: heat from 0 to 1, (H, W); None for an empty mask, in which case the last panel shows the image.
    """
    grey, chance, lesion = _planes(image, probability, mask)
    panels = {
        "image": _grey_picture(stretched(grey) / 255),
        "predicted mask": _grey_picture(chance.clip(0, 1)),
        "processed mask": _grey_picture(lesion > 0.5),
    }
    last = {"Grad-CAM: empty mask": panels["image"]} if heat is None else {"Grad-CAM": heat_overlay(grey, heat)}
    return _joined(panels | last)


def draw_attention(image: Plane, maps: Mapping[str, Plane]) -> np.ndarray:
    """Draw an image and its attention maps in rows of titled panels.

    Each map is divided by its maximum. Attention to channels is drawn as bars, in the order of the channels.

    Args:
        image: grey values of any range, (H, W).
        maps: by title, attention at least 0 to positions, (H, W), or to channels, (channels,).
    """
    (grey,) = _planes(image)
    panels = {"image": _padded(_grey_picture(stretched(grey) / 255), right=_bar_width(len(grey)))}
    for title, values in maps.items():
        attention = np.asarray(values, np.float32)
        attention = attention / (attention.max() or 1)
        panels[title] = (
            _bars(attention, panels["image"].shape) if attention.ndim == 1 else heat_overlay(grey, attention)
        )
    titles = list(panels)
    rows = [
        _joined({title: panels[title] for title in titles[start : start + _PER_ROW]})
        for start in range(0, len(titles), _PER_ROW)
    ]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([_padded(row, right=width - row.shape[1], below=GAP) for row in rows])


def draw_uncertainty(
    image: Plane,
    mask: Plane,
    truth: Plane,
    entropy: Plane,
    disagreement: Plane | None = None,
    title: str = "mask yellow, truth green",
) -> np.ndarray:
    """Draw the outlines of mask and ground truth over the image, and next to it entropy and disagreement as heat maps.

    Args:
        image: grey values of any range, (H, W), as all planes; small images are enlarged by an integer factor.
        mask: predicted mask, lesion above 0.5.
        truth: ground truth, lesion above 0.5.
        entropy: in bits, from 0 to 1.
        disagreement: of averaged predictions in bits, from 0 to 1, or None.
        title: of the first panel.
    """
    planes = _planes(image, mask, truth, entropy, *([] if disagreement is None else [disagreement]))
    factor = max(1, -(-_MIN_SIDE // min(planes[0].shape)))
    grey, predicted, true, *heats = (np.kron(plane, np.ones((factor, factor), np.float32)) for plane in planes)
    outlined = _grey_picture(stretched(grey) / 255)
    for plane, colour in ((true, TRUTH), (predicted, MASK)):
        region = plane > 0.5
        outlined[region & ~ndimage.binary_erosion(region, iterations=max(1, factor // 2), border_value=1)] = colour
    panels = {title: outlined}
    for name, heat in zip(("entropy, bits", "disagreement, bits"), heats, strict=False):
        panels[name] = heat_overlay(grey, heat)
    return _joined(panels)


def write_uncertainty_pictures(result: Calibration, folder: str | os.PathLike[str]) -> int:
    """Write a picture per test case, predicted by the best variant on validation, to `FOLDER/uncertainty/CASE.png`.

    The titles hold the Dice and the expected Dice. Returns the number of pictures.
    """
    scores, test, entropy = result.scores[result.best], result.test, PredictiveEntropy()
    for index, row in scores.cases.iterrows():
        dice, expected = row["dice"], row["expected_dice"]
        picture = draw_uncertainty(
            test.images[index],
            scores.mask[index],
            test.target[index],
            entropy(scores.probability[index]),
            None if scores.disagreement is None else scores.disagreement[index],
            f"{'no lesion' if np.isnan(dice) else f'Dice {dice:.2f}'}, expected {expected:.2f}",
        )
        with atomic_path(Path(folder) / "uncertainty" / f"{strip_suffix(row['case_id'])}.png") as temporary:
            Image.fromarray(picture).save(temporary)
    return len(test.cases)


def _planes(*planes: Plane) -> list[np.ndarray]:
    """Return planes as float32 arrays, after a check that all are 2D and have the same shape."""
    arrays = [np.asarray(plane, dtype=np.float32) for plane in planes]
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2:
        raise ValueError(f"the planes must be 2D and have the same shape, got {', '.join(map(str, shapes))}")
    return arrays


def _grey_picture(fraction: np.ndarray) -> np.ndarray:
    """Return a plane of 0 to 1, (H, W), as a picture, (H, W, 3)."""
    return np.repeat((fraction * 255.0).round().astype(np.uint8)[..., None], 3, axis=-1)


def _padded(picture: np.ndarray, right: int, below: int = 0) -> np.ndarray:
    return np.pad(picture, ((0, below), (0, right), (0, 0)), constant_values=_BACKGROUND[0])


def _bars(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return a picture, (H, W, 3), of numbers from 0 to 1 as white bars."""
    height, width, _ = shape
    heights = height * values[np.arange(width) * len(values) // width]  # (W,)
    return _grey_picture(np.arange(height, 0, -1)[:, None] <= heights)


def _font_size(height: int) -> int:
    """Return the size of the letters in a picture, in pixels."""
    return min(max(height // 16, 10), 40)


def _bar_width(height: int) -> int:
    return 5 * _font_size(height) // 2


def _bar(height: int, colours: np.ndarray) -> np.ndarray:
    """Return the colour bar with its labels, (height, width, 3)."""
    size = _font_size(height)
    margin = min(size // 2, (height - 1) // 2)
    panel = Image.new("RGB", (_bar_width(height), height), _BACKGROUND)
    ramp = np.repeat(colours[np.linspace(255, 0, height - 2 * margin).round().astype(int), None], size, axis=1)
    panel.paste(Image.fromarray(ramp), (size // 2, margin))
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(size)
    for label, y in (("1", margin), ("0", height - margin)):
        draw.text((size // 2 + size + size // 4, y), label, fill="white", font=font, anchor="lm")
    return np.asarray(panel)


def _joined(panels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Join pictures of the same height in a row, each below its title."""
    height = len(next(iter(panels.values())))
    width = min(panel.shape[1] for panel in panels.values())
    size = _font_size(height)
    while size > 6 and max(ImageFont.load_default(size).getlength(title) for title in panels) > width:
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
