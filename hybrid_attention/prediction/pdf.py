"""A PDF of predictions, one page per image."""

from __future__ import annotations

import os
import textwrap
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from hybrid_attention import __version__
from hybrid_attention.data.grey import stretched
from hybrid_attention.data.writing import atomic_path
from hybrid_attention.prediction.result import Result

RESEARCH_ONLY = (
    "Research only: not a medical device, not for clinical decisions. Measurements follow from the predicted mask and "
    "the image by fixed rules; nothing was read or verified by a radiologist."
)
_STYLE = {"pdf.fonttype": 42, "font.size": 9}  # TrueType: text that can be searched and copied
_A4 = (8.27, 11.69)  # inches
_LOW = 0.7  # expected Dice below which the page asks for a look at the image, as the page in the browser does
# measures with their titles, and what follows the number: "length" and "area" for the unit of the image
_LINES = (
    ("long_axis", "Long axis", "length"),
    ("short_axis", "Short axis", "length"),
    ("largest_area", "Area", "area"),
    ("long_axis_angle", "Long axis to the skin", "°"),
    ("lesion_width", "Width along the skin", "length"),
    ("lesion_height", "Height into depth", "length"),
    ("width_to_height", "Width / height", ""),
    ("computed_orientation", "Orientation, computed", ""),
    ("computed_shape", "Shape, computed", ""),
    ("ellipse_overlap", "Overlap with an ellipse", ""),
    ("circularity", "Circularity", ""),
    ("margin_roughness", "Margin roughness", ""),
    ("echo_ratio", "Echo, lesion / surroundings", ""),
    ("posterior_echo_ratio", "Echo, below / beside", ""),
)


class PdfReport:
    """Write a PDF with a page per image: image, overlay, measurements, classes, expected Dice, model and version.

    The file appears by rename when it is closed; `model` is in the foot of the pages.
    """

    def __init__(self, path: str | os.PathLike[str], model: str) -> None:
        from matplotlib.backends.backend_pdf import PdfPages

        self.model = model
        self._open = ExitStack()
        temporary = self._open.enter_context(atomic_path(path))
        about = {"Title": "Predicted breast lesions", "Creator": f"hybrid_attention {__version__}"}
        self._pages = self._open.enter_context(PdfPages(temporary, metadata=about))

    def add(self, name: str, result: Result) -> None:
        """Add a page with the name of an image as title."""
        from matplotlib import rc_context

        with rc_context(_STYLE):
            self._pages.savefig(_page(name, result, self.model))

    def close(self) -> None:
        """Write the file."""
        from matplotlib import rc_context

        with rc_context(_STYLE):  # the fonts are written last
            self._open.close()


def _page(name: str, result: Result, model: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_A4)

    def text(x: float, y: float, words: str, **style: Any) -> None:
        figure.text(x, y, words, parse_math=False, va="top", **style)

    text(0.07, 0.965, "\n".join(textwrap.wrap(name, 80)), size=12, weight="bold")
    height, width = result.image.proportions
    for left, title, pixels in (
        (0.07, "Image", stretched(result.image.pixels)),
        (0.52, "Predicted lesion", result.overlay()),
    ):
        axes = figure.add_axes((left, 0.53, 0.41, 0.36), anchor="N")
        axes.imshow(pixels, cmap="gray", aspect=height / width)
        axes.set_title(title, loc="left", size=9)
        axes.set_axis_off()
    text(0.07, 0.50, "Largest lesion", size=11, weight="bold")
    for index, (title, value) in enumerate(_measures(result)):
        text(0.07, 0.47 - 0.022 * index, title)
        text(0.30, 0.47 - 0.022 * index, value)
    text(0.52, 0.50, "Classes of the image", size=11, weight="bold")
    classes = sorted(result.classes.items(), key=lambda item: -item[1])
    for index, (title, chance) in enumerate(classes):
        text(0.52, 0.47 - 0.022 * index, f"{title}, probability")
        text(0.75, 0.47 - 0.022 * index, f"{chance:.1%}")
    if not classes:
        text(0.52, 0.47, "the model does not classify")
    y = 0.44 - 0.022 * max(len(classes), 1)
    low = result.mask.any() and result.expected_dice < _LOW
    text(0.52, y, "Expected Dice of the mask", size=11, weight="bold")
    text(0.52, y - 0.03, f"{result.expected_dice:.2f}" + (": uncertain, check the outline" if low else ""))
    written = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")
    foot = f"{model}; hybrid_attention {__version__}; written {written}"
    text(0.07, 0.10, "\n".join(textwrap.wrap(RESEARCH_ONLY, 110)), weight="bold", size=8)
    text(0.07, 0.06, "\n".join(textwrap.wrap(foot, 125)), size=8)
    return figure


def _measures(result: Result) -> list[tuple[str, str]]:
    measures: Any = result.measurements
    if not measures["lesions"]:
        return [("no lesion was predicted", "")]
    length = "mm" if measures["unit"] == "mm" else "pixels"
    units = {"length": f" {length}", "area": " mm²" if length == "mm" else " pixels"}
    lines = [("Lesions in the mask", str(measures["lesions"]))]
    for name, title, unit in _LINES:
        value = "not defined" if measures[name] is None else measures[name]
        digits = 2 if unit == "" else 0 if unit in units and length == "pixels" else 1
        lines.append((title, value if isinstance(value, str) else f"{value:.{digits}f}{units.get(unit, unit)}"))
    return lines
