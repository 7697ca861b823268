"""Packages that only exported networks need."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from hybrid_attention.data.extras import how_to_install

# what packages would report their use with: OpenVINO sends a message to its makers whenever it is imported
_REPORTERS = {"openvino": "openvino_telemetry"}


def require(module: str) -> Any:
    """Import a package of the extra `export`, without letting it report its use to anybody.

    Args:
        module: its name, as in an import statement.

    Returns:
        The module.

    Raises:
        ImportError: it is missing; the message says how to get it.
    """
    reporter = _REPORTERS.get(module.partition(".")[0])
    if reporter is not None and module not in sys.modules:
        sys.modules.setdefault(reporter, None)  # type: ignore[arg-type]  # can't be imported, so it does without
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            package = f"{package} ({error.name})"
        raise ImportError(f"exported networks need the package {package}: {how_to_install('export')}") from None
