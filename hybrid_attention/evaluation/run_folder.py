"""The files of an evaluation: the table of cases and its summary for machines and for readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.data.files import atomic_path, write_csv, write_json
from hybrid_attention.evaluation.summary_table import summary_table


def write_evaluation(folder: Path, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
    """Write `per_case.csv`, `summary.json` and `summary.md`.

    Args:
        folder: of the evaluation.
        rows: one a case, all with the same columns.
        summary: with `synthetic_data`, `part`, `split` and what `summarize` gives.

    Returns:
        The text of `summary.md`: what makes the numbers worthless as a measure of quality, if anything, the split and
        the scores.
    """
    warnings = []
    if summary["synthetic_data"]:
        warnings.append("SYNTHETIC DATA (computed phantoms): these numbers say nothing on patients")
    if summary["part"] != "test":
        part = summary["part"].upper()
        warnings.append(f"{part} IMAGES: these numbers say nothing on images that the network never saw")
    table = "\n\n".join([*warnings, summary["split"], summary_table(summary)]) + "\n"
    write_csv(folder / "per_case.csv", rows, list(rows[0]))
    write_json(folder / "summary.json", summary)
    with atomic_path(folder / "summary.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    return table
