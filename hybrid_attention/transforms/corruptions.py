"""Corruptions of ultrasound images, in seven kinds and five strengths, and speckle as an augmentation."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from hybrid_attention.data.masks import merged_mask
from monai.config import KeysCollection
from monai.transforms import MapTransform, Resize, ScaleIntensityRange, Transform
from monai.utils import CommonKeys, TransformBackends, convert_data_type, convert_to_dst_type
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform
from torch import nn
from torch.nn import functional as F

STRENGTHS = (1, 2, 3, 4, 5)
# possible grey values of white: images in [0, 1], 8 bit, and 12 and 16 bit of DICOM
_FULL_SCALES = (1.0, 255.0, 4095.0, 65535.0)
FULL_RANGE = 60.0  # dynamic range that the images are assumed to have, in dB

# of the blur that makes grains, in depth and across, as fractions of the long side: about 4 and 6 pixels of 512
_GRAIN = (0.0024, 0.004)

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

Level = tuple[float, ...]


class Degradation(NamedTuple):
    """What the numbers of a kind of corruption mean, and their values for the strengths 1 to 5."""

    unit: str
    levels: tuple[Level, Level, Level, Level, Level]


CORRUPTIONS: dict[str, Degradation] = {
    "speckle": Degradation(
        "share of fully developed speckle in the factor of the grey values", ((0.15,), (0.3,), (0.45,), (0.6,), (0.8,))
    ),
    "blur": Degradation(
        "standard deviation of the Gaussian, in % of the image's long side", ((0.2,), (0.4,), (0.7,), (1.1,), (1.6,))
    ),
    "gain": Degradation(
        "factor of the grey values, which are cut at full scale", ((1.2,), (1.4,), (1.6,), (2.0,), (2.5,))
    ),
    "contrast": Degradation(
        f"dB that are left between black and white, of {FULL_RANGE:g}", ((56.0,), (52.0,), (48.0,), (44.0,), (40.0,))
    ),
    "downscale": Degradation(
        "size of the small image, as a share of the image's", ((1 / 2,), (1 / 3,), (1 / 4,), (1 / 6,), (1 / 8,))
    ),
    "text": Degradation(
        "labels, lines of each, and height of the letters in % of the image's short side",
        ((1, 1, 4.0), (2, 1, 4.5), (3, 2, 5.0), (4, 2, 6.0), (4, 3, 7.0)),
    ),
    "callipers": Degradation(
        "distances measured, and size of the crosses in % of the image's short side",
        ((1, 2.5), (2, 2.5), (2, 3.5), (2, 5.0), (2, 7.0)),
    ),
}


class Corrupt(Transform):
    """Corrupt an ultrasound image with one kind and strength, reproducibly for the same seed and case.

    `CORRUPTIONS` lists the strengths 1 to 5. Lengths are fractions of the image's size and grey values fractions of
    full scale, so that a strength means the same for images of any size and grey range. Full scale is not the brightest
    pixel but the file's white: the first of 1, 255, 4095 and 65535 that no pixel exceeds. Results are clipped to black
    and white. The random numbers are the same for all strengths of a kind.

    - `speckle`: multiplies the grey values by noise of mean 1 with grains about as large as those of the image, partly
      fully developed speckle (Rayleigh-distributed amplitudes, standard deviation 0.52). Since files contain compressed
      echoes, a scanner's speckle would affect dark and bright tissue more equally.
    - `blur`: Gaussian.
    - `gain`: only increased, which saturates bright tissue. A scanner's gain is applied before compression and would
      brighten black tissue, too.
    - `contrast`: only the dark end is lost. Low contrast between all tissues is not included, since the preprocessing
      scales each image to its own darkest and brightest pixel, which undoes it.
    - `downscale`: downsampling by area averaging, then bilinear upsampling.
    - `text`: white labels such as "RT BREAST", from a random corner on.
    - `callipers`: crosses joined by dotted lines, placed like those of radiologists on the outline of the largest
      lesion: at the ends of its longest diameter, then of the longest one at a right angle to it. They show where the
      lesion is, so they can help a network as well as hurt it. Without a mask or lesion their positions are random.

    Reference:
        D. Hendrycks, T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
        ICLR 2019, for kinds at five strengths. C. B. Burckhardt, "Speckle in Ultrasound B-Mode Scans", IEEE Trans.
        Sonics Ultrason. 25 (1978) 1–6, for Rayleigh's law.

    Shape:
        - Input: (channels, H, W), grey values from 0
        - Output: the same shape and type; all channels are degraded alike
    """

    backend: ClassVar = [TransformBackends.NUMPY]

    def __init__(self, kind: str, strength: int, seed: int = 0) -> None:
        if kind not in CORRUPTIONS:
            raise ValueError(f"kind must be one of {', '.join(CORRUPTIONS)}, got {kind!r}")
        if isinstance(strength, bool) or strength not in STRENGTHS:
            raise ValueError(f"strength must be an integer from 1 to 5, got {strength!r}")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
        self.kind = kind
        self.strength = strength
        self.seed = seed

    def __call__(
        self, image: torch.Tensor | np.ndarray, case: str = "", mask: torch.Tensor | np.ndarray | None = None
    ) -> torch.Tensor | np.ndarray:
        """Return the degraded image.

        Args:
            image: (channels, H, W), grey values of any range from 0 to 65535.
            case: name of the case, which seeds the random numbers together with `seed`.
            mask: (n, H, W), the masks of the lesion, for `callipers`.
        """
        array = convert_data_type(image, np.ndarray, dtype=np.float64)[0]
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(f"the image must be of shape (channels, H, W), got {array.shape}")
        lesion = None if mask is None else merged_mask(list(convert_data_type(mask, np.ndarray)[0]))
        if lesion is not None and lesion.shape != array.shape[1:]:
            raise ValueError(f"the masks must be of the image's shape {array.shape[1:]}, got {lesion.shape}")
        white = full_scale(array)
        generator = np.random.default_rng((self.seed, zlib.crc32(case.encode())))
        level = CORRUPTIONS[self.kind].levels[self.strength - 1]
        degraded = white * _degraded(self.kind, array / white, level, generator, lesion).clip(0, 1)
        whole = np.issubdtype(convert_data_type(image, np.ndarray)[0].dtype, np.integer)
        return convert_to_dst_type(degraded.round() if whole else degraded, image)[0]


class Corruptd(MapTransform):
    """Dictionary form of `Corrupt`, which takes the case's name from `case_id` and its masks, if any, from `label`."""

    backend: ClassVar = Corrupt.backend

    def __init__(self, keys: KeysCollection, kind: str, strength: int, seed: int = 0) -> None:
        super().__init__(keys)
        self.corrupt = Corrupt(kind, strength, seed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the image of each key degraded."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.corrupt(result[key], str(data.get("case_id", "")), data.get(CommonKeys.LABEL))
        return result


def full_scale(image: np.ndarray) -> float:
    """Return the grey value of white: the first of 1, 255, 4095 and 65535 that no pixel exceeds."""
    low, high = float(image.min()), float(image.max())
    if not 0 <= low <= high <= _FULL_SCALES[-1]:
        raise ValueError(f"grey values must be from 0 to {_FULL_SCALES[-1]:g}, got {low:g} to {high:g}")
    return next(white for white in _FULL_SCALES if high <= white)


def _degraded(
    kind: str, image: np.ndarray, level: Level, generator: np.random.Generator, lesion: np.ndarray | None
) -> np.ndarray:
    """Return an image of 0 to 1, (channels, H, W), degraded; black or white may be exceeded."""
    size = image.shape[1:]
    match kind:
        case "speckle":
            return speckled(image, level[0], generator)
        case "blur":
            sigma = level[0] / 100 * max(size)
            return ndimage.gaussian_filter(image, (0, sigma, sigma), mode="nearest")  # MONAI's pads with black
        case "gain":
            return ScaleIntensityRange(0, 1 / level[0], 0, 1)(image)
        case "contrast":
            return ScaleIntensityRange(1 - level[0] / FULL_RANGE, 1, 0, 1)(image)
        case "downscale":
            return downscaled(image, level[0])
        case "text":
            ink = labels(size, generator, int(level[0]), int(level[1]), level[2] / 100)
        case _:
            ink = callipers(size, generator, lesion, int(level[0]), level[1] / 100)
    return image + (1 - image) * ink


def speckled(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Multiply an image by speckle of mean 1, of which a share is fully developed (Rayleigh-distributed amplitude)."""
    size = image.shape[1:]
    waves = generator.standard_normal((2, *size))  # real and imaginary part of the echoes
    amplitude = np.hypot(*ndimage.gaussian_filter(waves, (0, *(blur * max(size) for blur in _GRAIN)), mode="wrap"))
    return image * (1 + share * (amplitude / amplitude.mean() - 1))


def downscaled(image: np.ndarray, share: float) -> np.ndarray:
    """Downsample an image by area averaging to a share of its size, and upsample it again bilinearly."""
    size = image.shape[1:]
    small = Resize([max(1, round(share * side)) for side in size], mode="area")(image)
    return np.asarray(Resize(size, mode="bilinear")(small))


def labels(size: tuple[int, int], generator: np.random.Generator, count: int, lines: int, height: float) -> np.ndarray:
    """Draw 1 to 4 labels of 1 to 3 lines into the corners, in PIL's default font.

    The size of the image is (H, W), the height of the font a fraction of its short side. The generator chooses the
    order of the corners and the words, which don't depend on count, lines and height.
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

    There are 1 or 2 distances; the width of a cross is a fraction of the short side.
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


class RandomSpeckle(nn.Module):
    """Multiply images of a batch by noise of mean 1, each with its own strength.

    The noise is Gaussian, averaged over 3x3 windows so that its grains are larger than a pixel, as in an image that was
    interpolated to the screen, and rescaled to the chosen standard deviation.

    Args:
        strength: lowest and highest standard deviation of the factor.
        p: probability that an image is changed.

    Shape:
        - input: (B, C, H, W), values from 0
        - output: the same; all channels of an image get the same noise
    """

    def __init__(self, strength: tuple[float, float] = (0.05, 0.3), p: float = 0.5) -> None:
        super().__init__()
        low, high = strength
        if not 0 <= low <= high:
            raise ValueError(f"strength must be two numbers from 0, the smaller first, got {strength}.")
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability from 0 to 1, got {p}.")
        self.low, self.high, self.p = float(low), float(high), float(p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images with speckle."""
        batch, height, width = x.shape[0], x.shape[2], x.shape[3]
        strength = torch.rand(batch, 1, 1, 1, device=x.device, dtype=x.dtype) * (self.high - self.low) + self.low
        strength = strength * (torch.rand(batch, 1, 1, 1, device=x.device, dtype=x.dtype) < self.p)
        noise = torch.randn(batch, 1, height + 2, width + 2, device=x.device, dtype=x.dtype)
        grains = F.avg_pool2d(noise, 3, stride=1) * 3  # the mean of 9 values has a third of their deviation
        return x * (1 + strength * grains).clamp_min(0)
