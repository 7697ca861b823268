"""Pages that show the members of groups side by side for visual inspection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_COLUMNS = 6
_CELL_WIDTH, _CELL_HEIGHT = 232, 196  # a thumbnail and its two lines of text
_THUMBNAIL = (224, 160)
_MARGIN, _TITLE, _GAP = 12, 24, 10
_LINES = 8  # of thumbnails on a page
_BACKGROUND, _RULE, _TEXT, _FAINT = 255, 170, 0, 90


@dataclass(frozen=True)
class SheetGroup:
    """One group on a contact sheet: its title, and images, (H, W), uint8, with a name and a note below each."""

    title: str
    images: Sequence[np.ndarray]
    names: Sequence[str]
    notes: Sequence[str]


def contact_pages(groups: Sequence[SheetGroup]) -> Iterator[Image.Image]:
    """Draw groups on grey pages, one row per group; groups of more than six images take several rows."""
    pages: list[list[tuple[SheetGroup, int]]] = [[]]
    for group in groups:
        lines = [(group, start) for start in range(0, len(group.images), _COLUMNS)]
        if len(pages[-1]) + min(len(lines), _LINES) > _LINES:
            pages.append([])
        for line in lines:
            if len(pages[-1]) == _LINES:
                pages.append([])
            pages[-1].append(line)
    for number, lines in enumerate(pages, 1):
        if lines:
            yield _page(lines, f"page {number} of {len(pages)}")


def _page(lines: Sequence[tuple[SheetGroup, int]], footer: str) -> Image.Image:
    titled = [start == 0 or number == 0 for number, (_, start) in enumerate(lines)]
    height = 2 * _MARGIN + _TITLE + len(lines) * _CELL_HEIGHT + sum(titled) * (_TITLE + _GAP)
    page = Image.new("L", (2 * _MARGIN + _COLUMNS * _CELL_WIDTH, height), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    top = _MARGIN
    for (group, start), has_title in zip(lines, titled, strict=True):
        if has_title:
            draw.line([(_MARGIN, top), (page.width - _MARGIN, top)], fill=_RULE)
            title = group.title if start == 0 else f"{group.title} (continued)"
            draw.text((_MARGIN, top + 5), _fitted(title, _font(15), page.width - 2 * _MARGIN), _TEXT, _font(15))
            top += _TITLE + _GAP
        for column, index in enumerate(range(start, min(start + _COLUMNS, len(group.images)))):
            _cell(page, draw, (_MARGIN + column * _CELL_WIDTH, top), group, index)
        top += _CELL_HEIGHT
    draw.text((page.width - _MARGIN, page.height - _MARGIN), footer, _FAINT, _font(12), anchor="rs")
    return page


def _cell(page: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], group: SheetGroup, index: int) -> None:
    left, top = corner
    thumbnail = Image.fromarray(group.images[index])
    factor = min(_THUMBNAIL[0] / thumbnail.width, _THUMBNAIL[1] / thumbnail.height)
    size = [max(round(extent * factor), 1) for extent in thumbnail.size]
    page.paste(thumbnail.resize((size[0], size[1]), Image.Resampling.BILINEAR), (left, top))
    below = top + _THUMBNAIL[1]
    draw.text((left, below + 2), _fitted(group.names[index], _font(12), _THUMBNAIL[0]), _TEXT, _font(12))
    draw.text((left, below + 17), _fitted(group.notes[index], _font(12), _THUMBNAIL[0]), _FAINT, _font(12))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shorten a text in its middle until it is at most `width` pixels wide."""
    short, kept = text, len(text)
    while font.getlength(short) > width and kept > 2:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
    return short
