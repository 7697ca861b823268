"""A table of texts and its three forms: Markdown, LaTeX and HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from xml.sax.saxutils import quoteattr

from hybrid_attention.evaluation.text import markdown_grid

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "\n": " ",
}
_WIDE = 90  # characters of a LaTeX row, above which the table is fitted to the line


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the row.

    Args:
        key: short name for links and labels.
        title: what stands above.
        header: a text a column.
        rows: texts, as many as the header has.
        note: sentences below the title.
        marked: indices of rows to highlight where the form can.
        texts: whether cells hold words rather than numbers, set to the left.
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


def latex_text(text: str) -> str:
    """Escape a text for LaTeX."""
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)


def latex(table: Table) -> str:
    """Return a table with caption and label as LaTeX for booktabs and graphicx."""
    columns = "l" * len(table.header) if table.texts else "l" + "r" * (len(table.header) - 1)
    lines = [" & ".join(latex_text(text) for text in row) + r" \\" for row in (table.header, *table.rows)]
    widths = [max(len(row[index]) for row in (table.header, *table.rows)) for index in range(len(table.header))]
    wide = sum(widths) > _WIDE
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize",
            rf"\caption{{{latex_text(' '.join(text for text in (table.title + '.', table.note) if text))}}}",
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


def html(table: Table) -> str:
    """Return a table with title and note as HTML."""
    kind = ' class="text"' if table.texts else ""
    head = "".join(f'<th scope="col"{kind}>{escape(text)}</th>' for text in table.header)
    lines = []
    for index, row in enumerate(table.rows):
        marked = ' class="differs"' if index in table.marked else ""
        cells = "".join(f"<td{kind}>{_html_cell(text, table.texts)}</td>" for text in row[1:])
        lines.append(f'<tr{marked}><th scope="row">{escape(row[0])}</th>{cells}</tr>')
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    return (
        f"<h3 id={quoteattr(table.key)}>{escape(table.title)}</h3>{note}"
        f'<div class="scroll" tabindex="0" role="region" aria-label={quoteattr(table.title)}><table class="data">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _html_cell(text: str, words: bool) -> str:
    """Escape a text; an interval or spread stays on one line."""
    return escape(text) if words else re.sub(r"\[.*?\]|\S+ ± \S+", r'<span class="nowrap">\g<0></span>', escape(text))
