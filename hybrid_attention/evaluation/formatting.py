"""Formatting of numbers and tables, for summaries and reports."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNDEFINED = "n/a"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the row."""

    key: str  # for links and labels
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""  # sentences below the title
    highlighted: frozenset[int] = frozenset()  # indices of rows
    texts: bool = False  # whether cells hold words rather than numbers, and are left-aligned

    @classmethod
    def of(cls, key: str, title: str, rows: Sequence[Mapping[str, str]], note: str = "") -> Table:
        """Make a table of rows by column title; the header is that of the first row."""
        return cls(key, title, tuple(rows[0]), [tuple(row.values()) for row in rows], note)

    def markdown(self) -> str:
        """Return the table with title and note as Markdown."""
        note = f"{self.note}\n\n" if self.note else ""
        return f"## {self.title}\n\n{note}{markdown_grid(self.header, self.rows)}\n"


def is_defined(value: float | None) -> bool:
    """Return whether a number is defined; undefined numbers are null in JSON, NaN in older records."""
    return value is not None and not math.isnan(value)


def percent(value: float | None, signed: bool = False) -> str:
    """Format a fraction in percent with one digit; n/a if undefined."""
    if value is None or math.isnan(value):
        return UNDEFINED
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def percent_interval(value: float | None, low: float, high: float, signed: bool = False) -> str:
    """Format a fraction and its interval in percent, such as `77.8 [71.9, 83.1]`."""
    text = percent(value, signed)
    return text if text == UNDEFINED else f"{text} [{percent(low, signed)}, {percent(high, signed)}]"


def score_interval(score: Mapping[str, float] | None, signed: bool = False) -> str:
    """Format a score of a summary, `mean` or `value` with `low` and `high`, in percent."""
    if score is None:
        return UNDEFINED
    return percent_interval(score.get("mean", score.get("value")), score["low"], score["high"], signed)


def score_spread(score: Mapping[str, float] | None) -> str:
    """Format the `mean` of folds with their standard deviation `sd`, in percent, such as `77.8 ± 3.1`."""
    if score is None or math.isnan(score["mean"]):
        return UNDEFINED
    return f"{percent(score['mean'])} ± {percent(score['sd'])}"


def score_title(name: str) -> str:
    """Return the title of a score in tables; accuracy is that of pixels."""
    return {"accuracy": "pixel accuracy", "f1": "F1", "auc": "AUC"}.get(name, name)


def number(value: Any, digits: int) -> str:
    """Format a number; n/a if undefined."""
    return f"{value:.{digits}f}" if is_defined(value) else UNDEFINED


def plural(count: int, noun: str) -> str:
    """Format a count, such as `1 case` and `2 cases`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def p_value(value: float) -> str:
    """Format a p-value."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def confusion_cells(line: Sequence[int]) -> list[str]:
    """Format a row of a confusion matrix: each count and its share of the row, such as `12 (75.0 %)`."""
    return [f"{count} ({percent(count / sum(line))} %)" if count else "0" for count in line]


def markdown_grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table."""
    lines = [f"| {' | '.join(_cell(text) for text in row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def markdown_rows(rows: Sequence[Mapping[str, str]]) -> str:
    """Format rows by column title as a Markdown table; the header is that of the first row."""
    return markdown_grid(list(rows[0]), [list(row.values()) for row in rows])


def _cell(text: str) -> str:
    return re.sub(r"([|<>])", r"\\\1", text.replace("\n", " "))
