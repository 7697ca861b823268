"""The package's own rules, kept by looking at its source."""

import ast
import subprocess
import sys
from pathlib import Path

import hybrid_attention
import pytest

PACKAGE = Path(hybrid_attention.__file__).parent
ORDER = [
    {"data"},
    {"prediction"},
    {"phantoms"},
    {"audit"},
    {"transforms"},
    {"networks", "losses"},
    {"engines"},
    {"evaluation"},
    {"explain", "report"},
    {"experiments"},
    {"deploy"},
    {"loading"},
    {"app"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in ("experiments", "loading")
)


def room(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hybrid_attention."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "hybrid_attention":
            yield from (name.name for name in node.names if name.name in RANK)
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("hybrid_attention."))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_from_their_left_only(path):
    own = room(path)
    for other in imported_rooms(path):
        same_floor = RANK[other] == RANK[own]
        assert other == own or (RANK[other] < RANK[own] and not same_floor), f"{own} imports {other}"


def test_every_room_has_a_rank():
    assert {room(path) for path in MODULES} == set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 400


def test_import_is_light():
    heavy = ("torch", "monai", "itk", "matplotlib")
    code = f"import sys, hybrid_attention; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_subpackages_load_on_demand():
    assert hybrid_attention.losses.BCEJaccardLoss.__name__ == "BCEJaccardLoss"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hybrid_attention.nothing
