"""Running a bundle as a user does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path.name for path in (ROOT / "bundles").iterdir())
QUICK = ["--image_size", "32", "--batch_size", "4", "--num_workers", "1"]


def config(name, file):
    """The path of a config file of a bundle; without a suffix it is YAML."""
    return ROOT / "bundles" / name / "configs" / (file if "." in file else f"{file}.yaml")


def command(run_id, configs, *options):
    names = ",".join(f"'{path}'" for path in configs)
    words = ["-m", "monai.bundle", "run", run_id, "--config_file", f"[{names}]"]
    return [*words, *(str(option) for option in options)]


def bundle(run_id, configs, *options, cwd=ROOT, check=True):
    words = [sys.executable, *command(run_id, configs, *options)]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env={"OMP_NUM_THREADS": "2", **os.environ})
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done
