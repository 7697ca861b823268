"""Tables of a report as Markdown and LaTeX; for HTML, see `page.html.j2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from hybrid_attention.evaluation.formatting import markdown_grid

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "\n": " ",
}
_WIDE = 90  # LaTeX rows with more characters are scaled to the line width


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the row.

    Args:
        key: short name for links and labels.
        title: title above the table.
        header: one text per column.
        rows: one text per column each.
        note: sentences below the title.
        marked: indices of rows to highlight, if the format supports it.
        texts: whether cells hold words rather than numbers, and are left-aligned.
    """

    key: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    marked: frozenset[int] = field(default_factory=frozenset)
    texts: bool = False


def markdown(table: Table) -> str:
    """Return a table with title and note as Markdown."""
    note = f"{table.note}\n\n" if table.note else ""
    return f"## {table.title}\n\n{note}{markdown_grid(table.header, table.rows)}\n"


def latex(table: Table) -> str:
    """Return a table with caption and label as LaTeX for booktabs and graphicx.

    pandas' LaTeX neither scales wide tables to the line width nor typesets minus signs.
    """
    columns = "l" * len(table.header) if table.texts else "l" + "r" * (len(table.header) - 1)
    lines = [" & ".join(_latex_text(text) for text in row) + r" \\" for row in (table.header, *table.rows)]
    widths = [max(len(row[index]) for row in (table.header, *table.rows)) for index in range(len(table.header))]
    wide = sum(widths) > _WIDE
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize",
            rf"\caption{{{_latex_text(' '.join(text for text in (table.title + '.', table.note) if text))}}}",
            rf"\label{{tab:{table.key}}}",
            *([r"\resizebox{\linewidth}{!}{%"] if wide else []),
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}" + ("}" if wide else ""),
            r"\end{table}",
            "",
        ]
    )


def _latex_text(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)
