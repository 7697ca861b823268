"""What all figures of the reports have in common: size, colours, axes and legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hybrid_attention.data.extras import how_to_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

# told apart by readers with any colour vision: M. Okabe, K. Ito, "Color Universal Design", 2008
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#999999"  # of lines to compare with
_LINES = ("-", "--", "-.", ":")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure.

    Args:
        width: in inches; the page shows 80 pixels an inch.
        height: in inches.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"the figures need matplotlib: {how_to_install('report')}") from error
    return Figure(figsize=(width, height), layout="constrained")


def look_of(index: int) -> dict[str, Any]:
    """Give each run a colour and a line of its own."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": _LINES[index // len(COLOURS) % len(_LINES)]}


def tidy(axes: Axes) -> None:
    """Leave out the frame above and at the right, and draw a grid below everything else."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def legend(figure: Figure, columns: int = 1) -> None:
    """Name the lines of all axes below them."""
    plain(figure.legend(loc="outside lower center", frameon=False, fontsize=9, ncols=columns))


def plain(names: Legend) -> None:
    """Show names as they are: dollar signs make no formula."""
    for text in names.get_texts():
        text.set_parse_math(False)
