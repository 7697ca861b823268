"""The command `info`: version, bundles, installed packages and processor."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import hybrid_attention
from hybrid_attention.loading import whole_file
from hybrid_attention.prediction.bundles import own_bundles

PACKAGES = ("onnxruntime", "torch", "monai", "openvino", "onnx", "pydicom", "highdicom")
_INSTRUCTIONS = r"\b(avx2|avx512f|avx512_vnni|avx512_bf16|amx_bf16|amx_int8)\b"


def add_commands(commands: Any) -> None:
    """Add the command to those of an argument parser."""
    info = commands.add_parser("info", help="version, bundles and their weights, backends, processor")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=_info)


def facts() -> dict[str, Any]:
    """Return the version, the bundles with their weights, the installed packages, and the processor."""
    return {
        "version": hybrid_attention.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "processor": _processor(),
        "bundles": {name: _bundle(folder) for name, folder in own_bundles().items()},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> dict[str, Any]:
    known = Path("/proc/cpuinfo")
    text = known.read_text(encoding="utf-8", errors="replace") if known.is_file() else ""
    name = re.search(r"model name\s*:\s*(.+)", text)
    return {
        "name": name[1] if name else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "instructions": sorted(set(re.findall(_INSTRUCTIONS, text))),
    }


def _bundle(folder: Path) -> dict[str, Any]:
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    record = folder / "models" / "released" / "training.json"
    trained = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    return {
        "version": metadata["version"],
        "folder": str(folder),
        "weights_sha256": trained.get("weights_sha256"),
        "validation": trained.get("metric"),
        "whole_model": whole_file(folder) is not None,
    }


def _info(options: argparse.Namespace) -> None:
    found = facts()
    if options.json:
        print(json.dumps(found, indent=2))
        return
    processor, packages = found["processor"], found["packages"].items()
    print(f"hybrid-attention {found['version']}, Python {found['python']}")
    instructions = " ".join(processor["instructions"]) or "instructions unknown"
    print(f"{processor['name']}, {processor['cores']} cores, {instructions}")
    print("packages: " + ", ".join(f"{name} {version or 'not installed'}" for name, version in packages))
    for name, bundle in found["bundles"].items():
        weights = "no included weights"
        if bundle["weights_sha256"]:
            scores = ", ".join(f"{key} {value:.3f}" for key, value in (bundle["validation"] or {}).items())
            weights = f"weights {bundle['weights_sha256'][:12]} ({scores} on the validation fold)"
        print(f"{name} {bundle['version']}: {weights}{', whole model' if bundle['whole_model'] else ''}")
