"""Graphics that scanners burn into an image, labels and callipers, as the fraction of white in each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

Point = np.ndarray  # (column, row)

# as on breast images: four labels of three lines, with the possible texts of each line
_WORDS = (
    (  # position and direction
        ("RT BREAST", "LT BREAST", "RT UOQ", "L LOQ", "RT 12 O'CLOCK", "LT 3 C"),
        ("RADIAL", "ANTIRAD", "TRANS", "SAG"),
        ("2 CM FN", "3 CM FN", "5 CM FN"),
    ),
    (("L12-5", "L18-4", "15L4"), ("FR 24 Hz", "FR 31 Hz"), ("D 3.0 cm", "D 4.0 cm")),  # probe
    (("G 55 %", "G 62 %"), ("DR 60", "DR 72"), ("MI 0.9  TIs 0.2", "MI 1.1  TIs 0.1")),  # settings
    (("1 L 1.42 cm", "1 D 0.95 cm"), ("2 L 0.87 cm", "2 D 0.61 cm"), ("1/2  0.63", "Area 0.9 cm2")),  # measurement
)
_MARGIN = 0.03  # of the short side, between a label and the border
_FEWEST_LETTERS = 6  # pixels of a letter's height that can still be drawn


def labels(size: tuple[int, int], generator: np.random.Generator, count: int, lines: int, height: float) -> np.ndarray:
    """Draw labels into the corners, in PIL's default font.

    Args:
        size: H and W of the image.
        generator: chooses the order of the corners and the words, which don't depend on count, lines and height.
        count: number of labels, from 1 to 4.
        lines: lines of text in each, from 1 to 3.
        height: of the font, as a fraction of the image's short side.
    """
    corners = generator.permutation(4)
    words = [[choices[generator.integers(len(choices))] for choices in label] for label in _WORDS]
    canvas = Image.new("L", size[::-1])
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(_FEWEST_LETTERS, round(height * min(size))))
    margin = round(_MARGIN * min(size))
    for corner, label in zip(corners[:count], words, strict=False):
        right, bottom = bool(corner & 1), bool(corner & 2)
        place = (size[1] - margin if right else margin, size[0] - margin if bottom else margin)
        draw.multiline_text(
            place,
            "\n".join(label[:lines]),
            fill=255,
            font=font,
            anchor=("r" if right else "l") + ("d" if bottom else "a"),
            align="right" if right else "left",
        )
    return _as_share(canvas)


def callipers(
    size: tuple[int, int], generator: np.random.Generator, lesion: np.ndarray | None, count: int, cross: float
) -> np.ndarray:
    """Draw measured distances: a cross at both ends, a dotted line between them, and a number.

    The first is the longest diameter of the largest lesion, the second the longest at a right angle to it. Without
    a lesion they are random lines of 10 to 40 % of the short side.

    Args:
        size: H and W of the image.
        generator: chooses the random lines.
        lesion: mask, (H, W), or None if it is not known.
        count: number of distances, 1 or 2.
        cross: width of a cross, as a fraction of the image's short side.
    """
    lines = _random_lines(size, generator) if lesion is None or not lesion.any() else lesion_lines(lesion)
    arm = max(2, round(cross * min(size) / 2))
    thickness = max(1, round(arm / 5))
    canvas = Image.new("L", size[::-1])
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(_FEWEST_LETTERS, 2 * arm))
    for number, (start, end) in enumerate(lines[:count], start=1):
        _dotted(draw, start, end, 4 * thickness, thickness)
        for x, y in (start, end):
            draw.line((x - arm, y, x + arm, y), fill=255, width=thickness)
            draw.line((x, y - arm, x, y + arm), fill=255, width=thickness)
        draw.text((start[0] - arm - thickness, start[1]), str(number), fill=255, font=font, anchor="rm")
    return _as_share(canvas)


def lesion_lines(lesion: np.ndarray) -> list[tuple[Point, Point]]:
    """Find the two diameters of the largest lesion of a mask, (H, W), that radiologists measure.

    Returns:
        The ends (column, row) of the longest diameter, and of the longest at a right angle to it, to a pixel.
    """
    components, _ = ndimage.label(lesion, np.ones((3, 3)))
    largest = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    pixels = np.argwhere(largest)[:, ::-1].astype(float)
    start, end = _farthest(pixels)
    length = float(np.hypot(*(end - start)))
    along = (end - start) / length if length else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    stripes = np.rint((pixels - start) @ along).astype(int)  # one pixel wide, at a right angle to the long diameter
    depths = (pixels - start) @ across
    first = np.full(stripes.max() + 1, np.inf)
    last = np.full(stripes.max() + 1, -np.inf)
    np.minimum.at(first, stripes, depths)
    np.maximum.at(last, stripes, depths)
    widest = int(np.argmax(last - first))
    ends = [start + widest * along + depth * across for depth in (first[widest], last[widest])]
    return [(start, end), (ends[0], ends[1])]


def _farthest(pixels: np.ndarray) -> Sequence[Point]:
    """Return the two pixels of a shape that are farthest apart, the left one first."""
    corners = pixels
    if np.ptp(pixels, axis=0).min() > 0 and np.linalg.matrix_rank(pixels - pixels[0]) == 2:
        corners = pixels[ConvexHull(pixels).vertices]
    if len(corners) == 1:
        return corners[0], corners[0]
    pair = np.unravel_index(int(np.argmax(squareform(pdist(corners)))), (len(corners), len(corners)))
    return sorted((corners[pair[0]], corners[pair[1]]), key=tuple)


def _random_lines(size: tuple[int, int], generator: np.random.Generator) -> list[tuple[Point, Point]]:
    lines = []
    for _ in range(2):
        middle = generator.uniform(0.25, 0.75, 2) * size[::-1]
        length, angle = generator.uniform(0.1, 0.4) * min(size), generator.uniform(0, np.pi)
        half = length / 2 * np.array([np.cos(angle), np.sin(angle)])
        lines.append((middle - half, middle + half))
    return lines


def _dotted(draw: ImageDraw.ImageDraw, start: Point, end: Point, step: int, thickness: int) -> None:
    count = int(np.hypot(*(end - start)) // step)
    for share in np.linspace(0, 1, count + 1):
        x, y = np.rint(start + share * (end - start)).astype(int)
        draw.rectangle((x, y, x + thickness - 1, y + thickness - 1), fill=255)


def _as_share(canvas: Image.Image) -> np.ndarray:
    return np.asarray(canvas, dtype=np.float64) / 255
