"""Errors that end with their cause."""

from __future__ import annotations

import atexit
import sys
from functools import cache


@cache
def explain_errors() -> None:
    """Print the cause of an error that ends the program once more, as its last line.

    MONAI wraps what a component raises in "Failed to instantiate component …", so that the cause stands in the middle
    of a long traceback.
    """
    atexit.register(_print_cause)


def _print_cause() -> None:
    error: BaseException | None = getattr(sys, "last_value", None)
    if error is not None and root_cause(error) is not error:
        print(f"\nThe cause: {type(root_cause(error)).__name__}: {root_cause(error)}", file=sys.stderr)


def root_cause(error: BaseException) -> BaseException:
    """Return what MONAI wraps in "Failed to instantiate component …" and the like.

    Args:
        error: as caught; it may be its own cause in the end, as after `raise root_cause(error) from error`.
    """
    seen: set[int] = set()
    while error.__cause__ is not None and str(error).startswith("Failed to ") and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    return error
