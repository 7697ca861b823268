"""Errors that end with their cause."""

from __future__ import annotations

import sys
from types import TracebackType


def explain_errors() -> None:
    """Make an uncaught error end with its own message, not with the messages of the layers it passed through.

    MONAI wraps what a component raises in "Failed to instantiate component …", so that the cause stands in the middle
    of a long traceback. After this call the cause is printed once more below it.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.__excepthook__(kind, error, trace)
        cause = root_cause(error)
        if cause is not error:
            print(f"\nThe cause: {type(cause).__name__}: {cause}", file=sys.stderr)

    sys.excepthook = hook


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
