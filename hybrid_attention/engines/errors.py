"""Root causes of errors."""

from __future__ import annotations

import atexit
import sys
from functools import cache


@cache
def explain_errors() -> None:
    """Repeat the root cause of an uncaught error as the last line of the output.

    MONAI wraps errors of a component in "Failed to instantiate component …", which hides the cause in the middle of a
    long traceback.
    """
    atexit.register(_print_cause)


def _print_cause() -> None:
    error: BaseException | None = getattr(sys, "last_value", None)
    if error is not None and root_cause(error) is not error:
        print(f"\nThe cause: {type(root_cause(error)).__name__}: {root_cause(error)}", file=sys.stderr)


def root_cause(error: BaseException) -> BaseException:
    """Return the error that MONAI wraps in "Failed to instantiate component …" and the like.

    Args:
        error: the caught error; the chain of causes may be circular, as after `raise root_cause(error) from error`.
    """
    seen: set[int] = set()
    while error.__cause__ is not None and str(error).startswith("Failed to ") and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    return error
