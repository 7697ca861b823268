"""The wheel: what is in it, and that it predicts where there is no checkout."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser

import pytest

from tests.bundles.commands import ROOT
from tests.deploy.bare_environment import bare_environment, run

LEAVINGS = ("models/model.pt", "models/training.json", "data/phantoms/benign/a.png", "predictions/predictions.csv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel made from a copy of the sources, in which a bundle has been trained."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("hybrid_attention", "bundles"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for name in LEAVINGS:
        path = source / "bundles" / "hybrid" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of a run")
    words = [sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", out]
    subprocess.run(words, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


def test_holds_the_package_and_what_the_repository_has_of_the_bundles(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = subprocess.run(["git", "ls-files", "-z", "bundles"], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = {f"hybrid_attention/{name}" for name in tracked.stdout.split("\0") if name}
    assert {name for name in names if name.startswith("hybrid_attention/bundles/")} == expected
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "hybrid_attention").rglob("*.py")} <= names
    page = ROOT / "hybrid_attention" / "app" / "static"
    assert {str(path.relative_to(ROOT)) for path in page.rglob("*") if path.is_file()} <= names
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {"hybrid_attention"}


@pytest.mark.slow
def test_predicts_from_an_empty_folder(wheel, phantoms, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    python = bare_environment(tmp_path / "bare", needed)
    (packages,) = (tmp_path / "bare").glob("lib/*/site-packages")
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", packages, wheel]
    subprocess.run([sys.executable, *words], check=True)
    before = set(packages.glob("hybrid_attention/**/*"))
    empty = tmp_path / "empty"
    empty.mkdir()
    image = phantoms / "benign" / "benign (1).png"
    done = run(python, "-m", "hybrid_attention", "predict", image, "--out", "results", cwd=empty)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (empty / "results" / "benign (1)_mask.png").is_file()
    # a bundle by its config file: results of a run without --output_dir
    config = packages / "hybrid_attention" / "bundles" / "hybrid" / "configs" / "inference.yaml"
    words = ["-m", "monai.bundle", "run", "inference", "--config_file", config, "--dataset_dir", image]
    done = run(python, *words, cwd=empty)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (empty / "hybrid" / "predictions" / "benign (1)_mask.png").is_file()
    assert set(packages.glob("hybrid_attention/**/*")) == before
