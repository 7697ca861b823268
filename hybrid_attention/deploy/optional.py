"""Packages that only exported networks need."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str) -> Any:
    """Import a package of the extra `export`.

    Args:
        module: its name, as in an import statement.

    Returns:
        The module.

    Raises:
        ImportError: it is missing; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            package = f"{package} ({error.name})"
        raise ImportError(
            f"exported networks need the package {package}: pip install 'hybrid-attention[export]'"
        ) from None
