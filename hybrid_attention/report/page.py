"""The report as one HTML file that needs no other."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template
from typing import Any
from xml.sax.saxutils import quoteattr

from hybrid_attention.evaluation.metrics import COUNTS
from hybrid_attention.evaluation.summary import CONVENTIONS, has_lesion
from hybrid_attention.evaluation.text import score_title
from hybrid_attention.report.matching import Comparison
from hybrid_attention.report.runs import SHOWN_SCORES, Row
from hybrid_attention.report.table import Table, html
from hybrid_attention.transforms.overlay import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE

_ALPHA = 0.45


@dataclass(frozen=True)
class Drawing:
    """A figure for the page.

    Args:
        name: of its files.
        png: its data.
        caption: a sentence.
        width: on the page, in CSS pixels.
    """

    name: str
    png: bytes
    caption: str
    width: int


def rendered(
    comparison: Comparison,
    facts: Sequence[str],
    sections: Sequence[tuple[str, str]],
    pictures: Mapping[str, Sequence[str]],
    cases: Sequence[str],
    footer: str,
) -> str:
    """Return the page.

    Args:
        comparison: the runs.
        facts: sentences on top.
        sections: title and HTML of each section before the cases.
        pictures: by run, the kinds of its pictures.
        cases: from `embedded_cases`; none where no run has pictures.
        footer: what made the page.

    Returns:
        HTML.
    """
    data = {
        "runs": [{"name": run.name, "gradcam": "gradcam" in pictures[run.name]} for run in comparison.runs],
        "scores": [score_title(name) for name in SHOWN_SCORES],
        "chosen": SHOWN_SCORES.index("dice" if comparison.score == "f1" else comparison.score),
        "cases": _case_data(comparison),
        "pictures": any(pictures.values()),
        "kinds": sorted({kind for kinds in pictures.values() for kind in kinds}),
        "colours": {"tp": TRUE_POSITIVE, "fp": FALSE_POSITIVE, "fn": FALSE_NEGATIVE, "alpha": _ALPHA},
        "maps": {"probability": _colour_map("viridis"), "heat": _colour_map("inferno")},
    }
    links = [(_anchor(name), name) for name, _ in sections] + [("cases", "Cases"), ("browser", "Case browser")]
    return Template(_file("page.html")).substitute(
        title=escape(title(comparison)),
        banner="".join(f'<div class="banner" role="alert">{escape(text)}</div>' for text in warnings(comparison)),
        facts=f'<ul class="facts">{_items(facts)}</ul>',
        links="".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in links),
        sections="\n".join(
            f"<section id={quoteattr(_anchor(name))}><h2>{escape(name)}</h2>{content}</section>"
            for name, content in sections
        ),
        score=escape(comparison.score.capitalize()),
        pictures_note=_pictures_note(pictures),
        data=_embedded(json.dumps(data, separators=(",", ":"), allow_nan=False)),
        case_data="\n".join(
            f'<script type="application/json" id="case-{index}">{_embedded(text)}</script>'
            for index, text in enumerate(cases)
        ),
        style=_file("page.css"),
        script=_file("page.js"),
        footer=escape(footer),
    )


def title(comparison: Comparison) -> str:
    """Return the headline of the report."""
    names = [run.name for run in comparison.runs]
    return f"Evaluation of {names[0]}" if len(names) == 1 else f"Comparison of {len(names)} runs"


def warnings(comparison: Comparison) -> list[str]:
    """Say what makes the numbers worthless as a measure of quality, nothing for most reports."""
    found = []
    if comparison.synthetic:
        found.append("SYNTHETIC DATA: computed phantoms. These numbers say nothing on patients.")
    for part in dict.fromkeys(run.recorded("part") or "test" for run in comparison.runs):
        if part != "test":
            found.append(f"{str(part).upper()} IMAGES: these numbers say nothing on images that no network ever saw.")
    return found


def conventions() -> str:
    """Say in HTML what each convention means, a line each."""
    lines = "".join(f"<dt>{name}</dt><dd>{escape(meaning)}</dd>" for name, meaning in CONVENTIONS.items())
    return f'<dl class="conventions">{lines}</dl>'


def notice(heading: str, sentences: Sequence[str]) -> str:
    """Return sentences in a box that is hard to overlook, nothing for none."""
    return (
        f'<div class="notice"><p><strong>{escape(heading)}</strong></p><ul>{_items(sentences)}</ul></div>'
        if sentences
        else ""
    )


def tables_html(tables: Sequence[Table]) -> str:
    """Return tables one below the other."""
    return "".join(html(table) for table in tables)


def figures_html(figures: Sequence[Drawing]) -> str:
    """Return figures side by side where there is room."""
    return f'<div class="figures">{"".join(_figure_html(figure) for figure in figures)}</div>'


def _figure_html(figure: Drawing) -> str:
    data = base64.b64encode(figure.png).decode("ascii")
    return (
        f'<figure id="figure-{figure.name}"><img alt={quoteattr(figure.caption)} width={figure.width} '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(figure.caption)}</figcaption></figure>'
    )


def _case_data(comparison: Comparison) -> list[dict[str, Any]]:
    cases = []
    for rows in zip(*(run.rows for run in comparison.runs), strict=True):
        first = rows[0]
        scores = [_case_scores(row) for row in rows]
        cases.append(
            {
                "id": first["case_id"],
                "class": first["class"],
                "lesion": has_lesion(first),
                "area": _share(first, "tp", "fn"),
                "scores": scores,
                "marked": [_share(row, "tp", "fp") for row in rows],
                "predicted": [row.get("predicted_class", "") for row in rows],
            }
        )
    return cases


def _case_scores(row: Row) -> list[float | None]:
    """Return the scores of a case; without a lesion it has only those that need none."""
    defined = SHOWN_SCORES if has_lesion(row) else ("specificity", "accuracy")
    return [_json_number(row[name]) if name in defined else None for name in SHOWN_SCORES]


def _share(row: Row, *counts: str) -> float:
    """Return a share of the pixels of the image."""
    return round(sum(row[count] for count in counts) / sum(row[count] for count in COUNTS), 5)


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _pictures_note(pictures: Mapping[str, Sequence[str]]) -> str:
    without = [name for name, kinds in pictures.items() if not kinds]
    if len(without) == len(pictures):
        return "<p>No run has pictures: the browser shows scores only.</p>"
    return f"<p>No pictures in {escape(', '.join(without))}.</p>" if without else ""


def _colour_map(name: str) -> list[int]:
    """Return 256 colours as red, green, blue, one after the other."""
    from matplotlib import colormaps

    return [int(level) for colour in colormaps[name](range(256), bytes=True) for level in colour[:3]]


def _items(sentences: Sequence[str]) -> str:
    return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)


def _anchor(name: str) -> str:
    return "section-" + name.lower().replace(" ", "-")


def _embedded(text: str) -> str:
    """Make JSON safe inside a script element."""
    return text.replace("<", "\\u003c")


def _file(name: str) -> str:
    return resources.files("hybrid_attention.report").joinpath(name).read_text(encoding="utf-8")
