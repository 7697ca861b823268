"""Where a number comes from: configuration, code, data, machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import torch

import hybrid_attention
from hybrid_attention.engines.invocation import command_line_options, config_files

_PATHS = ("config_file", "output_dir", "dataset_dir", "bundle_root", "ckpt_path", "ckpt_dir")


def provenance(cases: Sequence[Mapping[str, Any]], weights: str | os.PathLike[str]) -> dict[str, Any]:
    """Collect what someone needs to repeat an evaluation.

    Folders of this machine are left out: they say nothing elsewhere.

    Args:
        cases: what was evaluated, with `image` and `label` paths.
        weights: the file of the network's weights.

    Returns:
        Plain values for JSON: config files with their hashes, overrides, version and commit of the code, hash of the
        data and of the weights, versions of the libraries, processor and accelerator.
    """
    return {
        "config_files": {f"{path.parents[1].name}/{path.name}": _sha256([path]) for path in _existing(config_files())},
        "overrides": {key: value for key, value in command_line_options().items() if key not in _PATHS},
        "version": hybrid_attention.__version__,
        "commit": commit(),
        "data_sha256": _sha256([path for case in cases for path in (case["image"], *case["label"])]),
        "weights_sha256": _sha256([weights]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "processor": processor(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def commit() -> str | None:
    """Return the commit of the checkout that the package runs from, with "+changes" when files differ from it.

    Returns:
        The hash, or None outside of a checkout. The environment variable HYBRID_ATTENTION_COMMIT takes precedence, for
        machines that have a copy of the files without their history.
    """
    given = os.environ.get("HYBRID_ATTENTION_COMMIT")
    if given:
        return given
    home = Path(hybrid_attention.__file__).resolve().parents[1]
    if not (home / "pyproject.toml").is_file():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=home, capture_output=True, text=True, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def _existing(paths: Sequence[Path]) -> list[Path]:
    return [path.resolve() for path in paths if path.is_file()]


def _sha256(paths: Sequence[str | os.PathLike[str]]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()


def processor() -> str:
    """Return the processor's name and the number of threads that torch uses."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} threads"
