"""An environment that has some installed distributions and what they require, and nothing else: no project."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def bare_environment(folder, names):
    """Make the environment of links in `folder`; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    target = folder / "lib" / version / "site-packages"
    for distribution in _with_requirements(names):
        for top in {file.parts[0] for file in distribution.files if file.parts[0] != ".."}:
            source = Path(distribution.locate_file(top))
            if source.name != "__pycache__" and not (target / top).exists() and source.exists():
                os.symlink(source, target / top)
    return folder / "bin" / "python"


def _with_requirements(names):
    found, seen, waiting = {}, set(), [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name, extras = re.sub(r"[-_.]+", "-", wanted.name).lower(), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = metadata.distribution(name)
        for line in found[name].requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append(needed)
    return found.values()


def run(python, *words, cwd):
    """Run the environment's Python without anything of this one."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env = {"OMP_NUM_THREADS": "2", **kept, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([python, *map(str, words)], cwd=cwd, capture_output=True, text=True, env=env)
