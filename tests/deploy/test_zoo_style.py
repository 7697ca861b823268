"""The code in an archive passes the format check of MONAI's model zoo, with the options of its `setup.cfg`."""

import shutil
import subprocess
import sys
from pathlib import Path

import hybrid_attention
import pytest

FLAKE8 = ["--select", "B,C,E,F,N,P,T4,W,B9", "--ignore", "E203,E501,E741,W503,W504,C408,N812,B023"]


@pytest.mark.parametrize(
    "words",
    [
        ["black", "--line-length", "120", "--skip-magic-trailing-comma", "--check", "--diff", "--quiet"],
        ["isort", "--profile", "black", "--line-length", "120", "--project", "models", "--check"],
        ["flake8", "--max-line-length", "120", "--per-file-ignores", "__init__.py:F401,__main__.py:F401", *FLAKE8],
    ],
    ids=lambda words: words[0],
)
def test_format(words, tmp_path):
    """The package is where the zoo has it: below its own, so that isort doesn't take it for first-party."""
    package, left_out = Path(hybrid_attention.__file__).parent, shutil.ignore_patterns("__pycache__", "static", "web")
    shutil.copytree(package, tmp_path / "models" / "hybrid" / package.name, ignore=left_out)
    done = subprocess.run([sys.executable, "-m", *words, "."], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
