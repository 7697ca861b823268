"""The scripts of the maintainers as modules, and the cells of the tables that they write."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"


def load_script(name):
    """Return a fresh module of `scripts/NAME.py`, which finds its neighbours."""
    path = ROOT / "scripts" / f"{name}.py"
    sys.path[:] = [str(path.parent), *(one for one in sys.path if one != str(path.parent))]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells_of(text):
    """Return the rows of the Markdown tables in a text, without the lines below their headers."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def rows_of(text):
    """Return the rows of one table by their first cell, as cells by column title."""
    header, *rows = cells_of(text)
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}
