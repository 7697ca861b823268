"""The scripts of the maintainers as modules."""

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
