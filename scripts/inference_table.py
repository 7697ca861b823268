"""The table of times of inference, for `results_table.py` and for `benchmark_inference.py`, which measures them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.evaluation.text import markdown_grid

HEADER = (
    "network",
    "computed by",
    "ms an image (quartiles)",
    "times eager",
    "largest difference",
    "equal pixels",
    "Dice",
)


def inference_table(path: Path, trained: bool) -> str:
    """Lay out a stored measurement.

    Args:
        path: the JSON file.
        trained: show trained networks, whose masks were compared; else those that were timed alone.

    Returns:
        Markdown: machine and settings, then the rows.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    compared = {row["network"] for row in content["rows"] if "dice" in row}
    facts, rows = content["provenance"], [row for row in content["rows"] if (row["network"] in compared) == trained]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    caption = (
        "{size} x {size} pixels, batches of {batch}, median of {repeats} rounds in turns; {processor}; {versions}."
        + trained * " Masks and Dice: {compared} test images of {images} at this size, percent."
    )
    shown = {"size": rows[0]["image_size"], "batch": rows[0]["batch_size"], **facts, "versions": versions}
    return f"{caption.format(**shown)}\n\n{rows_table(rows)}"


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out rows of a measurement.

    Args:
        rows: one a network and variant; those that failed say why under `failure`.

    Returns:
        Markdown.
    """
    return markdown_grid(HEADER, [_cells(row) for row in rows])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = (row["network"], row["variant"])
    if row.get("failure"):
        return (*names, row["failure"], "", "", "", "")
    time = f"{row['milliseconds']:.1f} ({row['lower_quartile']:.1f}-{row['upper_quartile']:.1f})"
    if "dice" not in row:
        return (*names, time, f"{row['ratio']:.2f}", "", "", "")
    equal = math.floor(1e6 * row["equal_pixels"]) / 1e4  # never rounded up to all
    dice = f"{100 * row['dice']:.2f} ({100 * row['dice_change']:+.2f})"
    return (*names, time, f"{row['ratio']:.2f}", f"{row['largest_difference']:.1g}", f"{equal:.4f}", dice)
