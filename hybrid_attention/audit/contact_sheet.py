"""Pages that show the members of groups side by side for visual inspection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_COLUMNS, _LINES = 6, 8  # of thumbnails on a page; a longer group has a longer page
_CELL = (232, 196)  # width and height of a thumbnail with its two lines of text
_THUMBNAIL = (224, 160)
_TITLE = 34
_LONGEST = 34  # letters of a text below a thumbnail


@dataclass(frozen=True)
class SheetGroup:
    """One group on a contact sheet: its title, and images, (H, W), uint8, with a name and a note below each."""

    title: str
    images: Sequence[np.ndarray]
    names: Sequence[str]
    notes: Sequence[str]


def contact_pages(groups: Sequence[SheetGroup]) -> Iterator[Image.Image]:
    """Draw groups on grey pages, one row per group; groups of more than six images take several rows."""
    page: list[np.ndarray] = []
    lines = 0
    for group in groups:
        more = -(-len(group.images) // _COLUMNS)
        if page and lines + more > _LINES:
            yield Image.fromarray(np.vstack(page))
            page, lines = [], 0
        page.append(_strip(group, more))
        lines += more
    if page:
        yield Image.fromarray(np.vstack(page))


def _strip(group: SheetGroup, lines: int) -> np.ndarray:
    strip = Image.new("L", (_COLUMNS * _CELL[0], _TITLE + lines * _CELL[1]), 255)
    draw = ImageDraw.Draw(strip)
    draw.line([(0, 4), (strip.width, 4)], fill=170)
    draw.text((0, 9), group.title, 0, ImageFont.load_default(15))
    for index, (image, name, note) in enumerate(zip(group.images, group.names, group.notes, strict=True)):
        line, column = divmod(index, _COLUMNS)
        strip.paste(_cell(Image.fromarray(image), name, note), (column * _CELL[0], _TITLE + line * _CELL[1]))
    return np.asarray(strip)


def _cell(image: Image.Image, name: str, note: str) -> Image.Image:
    cell = Image.new("L", _CELL, 255)
    factor = min(_THUMBNAIL[0] / image.width, _THUMBNAIL[1] / image.height)
    size = max(round(image.width * factor), 1), max(round(image.height * factor), 1)
    cell.paste(image.resize(size, Image.Resampling.BILINEAR))
    for text, place, grey in ((name, 2, 0), (note, 17, 90)):
        half = _LONGEST // 2 - 1
        short = text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"
        ImageDraw.Draw(cell).text((0, _THUMBNAIL[1] + place), short, grey, ImageFont.load_default(12))
    return cell
