"""Where a number comes from: configuration, code, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hybrid_attention
import monai
import torch
from hybrid_attention.data.hashing import file_digest
from hybrid_attention.engines.inferer import computes_bf16, cpu_capability
from hybrid_attention.engines.invocation import command_line_options, config_files


def provenance() -> dict[str, Any]:
    """Collect what someone needs to repeat a run.

    Paths are cut to their last part: folders of this machine say nothing elsewhere.

    Returns:
        Plain values for JSON: config files with their hashes, overrides, version and commit of the code, versions of
        the libraries, processor and accelerator.
    """
    files = [path.resolve() for path in config_files() if path.is_file()]
    options = {key: without_folder(value) for key, value in command_line_options().items() if key != "config_file"}
    return {
        "config_files": {f"{path.parents[1].name}/{path.name}": file_digest([path]) for path in files},
        "overrides": options,
        "version": hybrid_attention.__version__,
        "commit": commit(),
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
    head, changes = _git(home, "rev-parse", "HEAD"), _git(home, "status", "--porcelain", "--untracked-files=no")
    return None if head is None else head + ("+changes" if changes else "")


def processor() -> str:
    """Return the processor's name, the instructions that torch uses of it, and the number of threads."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    capability = cpu_capability() + (" with bf16" if computes_bf16("cpu") else "")
    return f"{name} ({capability}), {torch.get_num_threads()} threads"


def without_folder(value: Any, relative: bool = True) -> Any:
    """Return a setting without folders of this machine: a path is cut to its last part.

    Expressions, references and macros of a config (`$…`, `@…`, `%…`) stay as they are.

    Args:
        value: any value of an option; mappings, lists and tuples are gone through.
        relative: cut relative paths, too, that is any text with a "/".

    Returns:
        The setting; tuples become lists, as in JSON.
    """
    if isinstance(value, Mapping):
        return {key: without_folder(entry, relative) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_folder(entry, relative) for entry in value]
    if not isinstance(value, str) or value.startswith(("$", "@", "%")):
        return value
    return Path(value).name if Path(value).is_absolute() or (relative and "/" in value) else value


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
