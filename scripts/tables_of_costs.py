"""Tables of time, memory and size for `update_tables.py`, from the results of `scripts/benchmarks`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybrid_attention.evaluation.formatting import markdown_grid

COSTS = ("parameters", "GFLOPs per image", "training memory, GiB", "training images/s")


def training_table(path: Path) -> str:
    """Make the table of time and memory per training step."""
    parts = ("forward", "backward", "optimizer", "data")
    benchmark, rows = _read(path), []
    for row in benchmark["rows"]:
        total = sum(row["seconds"].values())
        shares = [f"{100 * row['seconds'][part] / total:.1f} %" for part in parts]
        cells = (row["network"], row["image_size"], row["batch_size"], _precision(row), row["images_per_second"])
        rows.append((*map(str, cells), *shares, f"{row['peak_memory_gib']} GiB"))
    header = ("network", "image size", "batch", "precision", "images/s", *parts, "peak memory")
    return f"{benchmark['provenance']['processor']}:\n\n{markdown_grid(header, rows)}"


def speedup(path: Path) -> str:
    """Return the speed-up of bf16 over fp32 training of the hybrid bundle."""
    benchmark = _read(path)
    rates = {(row["image_size"], row["precision"]): row["images_per_second"] for row in benchmark["rows"]}
    times = ", ".join(f"{rates[size, 'bf16'] / rates[size, 'fp32']:.1f} times at {size}" for size in (256, 128))
    return f"{times} on {benchmark['provenance']['processor']}"


def inference_table(path: Path, trained: bool) -> str:
    """Make the table of inference times.

    Args:
        path: result of `benchmarks/inference.py`.
        trained: whether to show the trained networks, whose masks were compared, or those that were only timed.
    """
    content = _read(path)
    compared = {row["network"] for row in content["rows"] if "dice" in row}
    facts, rows = content["provenance"], [row for row in content["rows"] if (row["network"] in compared) == trained]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    size, batch = rows[0]["image_size"], rows[0]["batch_size"]
    caption = (
        f"{size} x {size} pixels, batches of {batch}, median of {facts['repeats']} interleaved rounds; "
        f"{facts['processor']}; {versions}."
    )
    if trained:
        caption += f" Masks and Dice: {facts['compared']} test images of {facts['images']} at this size, in percent."
    header = ("network", "backend", "ms per image (quartiles)", "speed-up", "largest difference", "equal pixels")
    return f"{caption}\n\n{markdown_grid((*header, 'Dice'), [_inference_cells(row) for row in rows])}"


def _inference_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = (row["network"], row["variant"])
    if row.get("failure"):
        return (*names, row["failure"], "", "", "", "")
    time = f"{row['milliseconds']:.1f} ({row['lower_quartile']:.1f}-{row['upper_quartile']:.1f})"
    if "dice" not in row:
        return (*names, time, f"{row['ratio']:.2f}", "", "", "")
    equal = math.floor(1e6 * row["equal_pixels"]) / 1e4  # never rounded up to all
    dice = f"{100 * row['dice']:.2f} ({100 * row['dice_change']:+.2f})"
    return (*names, time, f"{row['ratio']:.2f}", f"{row['largest_difference']:.1g}", f"{equal:.4f}", dice)


def network_costs_table(path: Path) -> str:
    """Make the table of computational costs of all networks."""
    costs = _read(path)
    rows = [(name, *cost_cells(row)) for name, row in costs["rows"].items()]
    return f"{how_measured(costs)}:\n\n{markdown_grid(('network', *COSTS), rows)}"


def cost_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Format a network's costs; cells of missing measurements are empty."""
    size, memory, speed = (row.get(what) for what in ("size", "memory", "speed"))
    return (
        f"{size['parameters']:,}" if size else "",
        f"{size['flops'] / 1e9:.1f}" if size else "",
        f"{memory['training_memory_gib']:.1f}" if memory else "",
        f"{speed['images_per_second']:.2f}" if speed else "",
    )


def how_measured(costs: dict[str, Any]) -> str:
    """Describe the settings and machines of the measurements."""
    settings = costs["settings"]
    measured = [row[what] for row in costs["rows"].values() for what in ("memory", "speed") if what in row]
    machines = dict.fromkeys(part["provenance"]["processor"] for part in measured)
    side, batch = settings["image_size"], settings["batch_size"]
    return ", ".join([f"{side} x {side} pixels", _precision(settings), f"batches of {batch}", *machines])


def _precision(settings: Mapping[str, Any]) -> str:
    return str(settings["precision"]) + (", channels_last" if settings["channels_last"] else "")


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
