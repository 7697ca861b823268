"""Import MONAI without the packages that it only looks for, so that a first prediction comes sooner."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# MONAI imports these when they are installed and works without them when they are not. Prediction needs none of them,
# and they take two of the five seconds of the import
_OPTIONAL = ("cv2", "itk", "matplotlib", "pandas", "scipy.signal", "scipy.stats", "sklearn", "tensorboard")
# Ignite needs one class of it, to recognise checkpoints of sharded optimizers; it takes another second
_SHARDED = "torch.distributed.optim"


def import_monai_quickly() -> None:
    """Import MONAI's bundles, engines and handlers as if some optional packages were not installed.

    For short-lived processes that predict: what MONAI does with the hidden packages (plots, other metrics, other
    readers) is not available in this process. The packages themselves can be imported as usual afterwards. Anything
    that is already imported, MONAI included, stays as it is.
    """
    if "monai" in sys.modules:
        return
    import torch  # noqa: F401  (it must not see what is hidden)

    with _hidden(_OPTIONAL):
        import monai.bundle
        import monai.engines
        import monai.handlers  # noqa: F401


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Make imports of packages that are not yet imported fail within the block."""
    stand_in = ModuleType(_SHARDED)
    stand_in.ZeroRedundancyOptimizer = type("ZeroRedundancyOptimizer", (), {})  # type: ignore[attr-defined]
    placed: dict[str, ModuleType | None] = {_SHARDED: stand_in, **dict.fromkeys(names)}
    placed = {name: module for name, module in placed.items() if name not in sys.modules}
    sys.modules.update(placed)  # type: ignore[arg-type]  # None is how Python marks what can't be imported
    try:
        yield
    finally:
        for name, module in placed.items():
            if sys.modules.get(name, module) is module:
                sys.modules.pop(name, None)
