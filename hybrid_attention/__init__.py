"""Breast-ultrasound tumour segmentation: published attention networks as MONAI components and bundles."""

import importlib
from typing import Any

__version__ = "0.1.0"

_SUBPACKAGES = (
    "data",
    "prediction",
    "phantoms",
    "audit",
    "transforms",
    "networks",
    "losses",
    "engines",
    "evaluation",
    "explain",
    "report",
    "experiments",
    "deploy",
)


def __getattr__(name: str) -> Any:
    """Import a subpackage on first use, so that `import hybrid_attention` is fast and sufficient in a config."""
    if name == "load_model":
        return importlib.import_module(f"{__name__}.loading").load_model
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
