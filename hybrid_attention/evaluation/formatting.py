"""Numbers and tables as texts, the same in summaries and reports."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

UNDEFINED = "n/a"


def is_defined(value: float | None) -> bool:
    """Tell whether a number is defined: undefined ones are null in JSON, NaN in older records."""
    return value is not None and not math.isnan(value)


def percent(value: float | None, signed: bool = False) -> str:
    """Print a fraction in percent with one digit, n/a where it is undefined."""
    if value is None or math.isnan(value):
        return UNDEFINED
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def percent_interval(value: float | None, low: float, high: float, signed: bool = False) -> str:
    """Print a fraction and its interval in percent, as in `77.8 [71.9, 83.1]`."""
    text = percent(value, signed)
    return text if text == UNDEFINED else f"{text} [{percent(low, signed)}, {percent(high, signed)}]"


def score_interval(score: Mapping[str, float] | None) -> str:
    """Print a score of a summary, its `mean` or `value` with `low` and `high`, in percent."""
    if score is None:
        return UNDEFINED
    return percent_interval(score.get("mean", score.get("value")), score["low"], score["high"])


def score_spread(score: Mapping[str, float] | None) -> str:
    """Print the `mean` of folds with their standard deviation `sd`, in percent, as in `77.8 ± 3.1`."""
    if score is None or math.isnan(score["mean"]):
        return UNDEFINED
    return f"{percent(score['mean'])} ± {percent(score['sd'])}"


def score_title(name: str) -> str:
    """Return what tables call a score: the accuracy of a mask is of pixels, unlike that of classes."""
    return {"accuracy": "pixel accuracy", "f1": "F1", "auc": "AUC"}.get(name, name)


def number(value: Any, digits: int) -> str:
    """Print a number, n/a where it is undefined."""
    return f"{value:.{digits}f}" if is_defined(value) else UNDEFINED


def plural(count: int, noun: str) -> str:
    """Print how many, as in `1 case` and `2 cases`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def p_value(value: float) -> str:
    """Print a p-value."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def confusion_cells(line: Sequence[int]) -> list[str]:
    """Print a line of a confusion matrix: each count and its share of the line, as in `12 (75.0 %)`."""
    return [f"{count} ({percent(count / sum(line))} %)" if count else "0" for count in line]


def markdown_grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay texts out as a Markdown table."""
    lines = [f"| {' | '.join(_cell(text) for text in row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def _cell(text: str) -> str:
    return re.sub(r"([|<>])", r"\\\1", text.replace("\n", " "))
