"""Pages that show the members of groups side by side for visual inspection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from hybrid_attention.audit.keypoints import Picture
from hybrid_attention.audit.near_duplicates import Copy
from PIL import Image, ImageDraw, ImageFont

_COLUMNS, _LINES = 6, 8  # of thumbnails on a page
_CELL = (232, 196)  # width and height of a thumbnail with its two lines of text
_THUMBNAIL = (224, 160)
_TITLE = 34


def contact_pages(
    groups: pd.DataFrame, copies: Sequence[Copy], pictures: Mapping[int, Picture]
) -> Iterator[Image.Image]:
    """Draw groups of two or more images on grey pages; uncertain ones, with neighbouring frames, come first.

    `groups` and `copies` are those of an `AuditResult`; images identical to an earlier one have no picture.
    """
    numbers = list(groups["duplicate"])
    copies_of: dict[int, list[Copy]] = {}
    for copy in copies:
        copies_of.setdefault(numbers[copy.first], []).append(copy)
    places = groups.groupby("duplicate").indices
    strips = []
    for number, pairs in copies_of.items():
        members = places[number]
        weakest = min((copy.scores.block_correlation for copy in pairs if copy.scores), default=1.0)
        order = all(copy.kind != "near_frame" for copy in pairs), -len(members), weakest
        twins = {copy.second: copy.first for copy in pairs if copy.kind.startswith("identical")}
        strips.append((order, number, members, twins))
    page: list[np.ndarray] = []
    lines = 0
    for (_, _, weakest), number, members, twins in sorted(strips, key=lambda strip: strip[:2]):
        for start in range(0, len(members), _COLUMNS * _LINES):
            shown = range(start, min(start + _COLUMNS * _LINES, len(members)))
            more = -(-len(shown) // _COLUMNS)
            if page and lines + more > _LINES:
                yield Image.fromarray(np.vstack(page))
                page, lines = [], 0
            name = f"Group {number}{' (continued)' if start else ''}"
            page.append(_strip(name, weakest, groups.iloc[members], members, shown, twins, pictures))
            lines += more
    if page:
        yield Image.fromarray(np.vstack(page))


def _strip(
    name: str,
    weakest: float,
    group: pd.DataFrame,
    members: Sequence[int],
    shown: Sequence[int],
    twins: Mapping[int, int],
    pictures: Mapping[int, Picture],
) -> np.ndarray:
    """Draw a title and the `shown` members of a group in rows, with the name and the number of the frame below each."""
    frames = {frame: index for index, frame in enumerate(sorted(set(group["same_frame"])), 1)}
    what = "same frame" if len(frames) == 1 else f"{len(frames)} frames"
    strip = Image.new("L", (_COLUMNS * _CELL[0], _TITLE - (-len(shown) // _COLUMNS) * _CELL[1]), 255)
    draw = ImageDraw.Draw(strip)
    draw.line([(0, 4), (strip.width, 4)], fill=170)
    title = f"{name}: {len(members)} images, {what}, weakest speckle agreement {weakest:.2f}"
    draw.text((0, 9), title, 0, ImageFont.load_default(15))
    ids = dict(zip(members, group.index, strict=True))
    for place, index in enumerate(shown):
        member, frame = members[index], group["same_frame"].iat[index]
        note = f"frame {frames[frame]}" + (f", identical to {ids[twins[member]]}" if member in twins else "")
        cell = _cell(Image.fromarray(pictures[twins.get(member, member)].pixels), ids[member], note)
        strip.paste(cell, (place % _COLUMNS * _CELL[0], _TITLE + place // _COLUMNS * _CELL[1]))
    return np.asarray(strip)


def _cell(image: Image.Image, name: str, note: str) -> Image.Image:
    cell = Image.new("L", _CELL, 255)
    factor = min(_THUMBNAIL[0] / image.width, _THUMBNAIL[1] / image.height)
    size = max(round(image.width * factor), 1), max(round(image.height * factor), 1)
    cell.paste(image.resize(size, Image.Resampling.BILINEAR))
    font = ImageFont.load_default(12)
    for text, place, grey in ((name, 2, 0), (note, 17, 90)):
        short, half = text, len(text) // 2
        while font.getlength(short) > _THUMBNAIL[0]:
            half -= 1
            short = f"{text[:half]}...{text[-half:]}"
        ImageDraw.Draw(cell).text((0, _THUMBNAIL[1] + place), short, grey, font)
    return cell
