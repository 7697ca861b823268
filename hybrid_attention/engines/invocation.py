"""What the command line of `python -m monai.bundle run` says: config files, overrides, the bundle's own folder."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import hybrid_attention


def command_line_options(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the `--key value` and `--key=value` options of a command line, read as `python -m monai.bundle` does.

    Args:
        argv: the words of the command line, `sys.argv` by default.

    Returns:
        Values by key; those that are Python literals as such, others as text.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    options: dict[str, Any] = {}
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        key, separator, value = word[2:].partition("=")
        if not separator:
            following = words[index + 1] if index + 1 < len(words) else "True"
            value = "True" if following.startswith("--") else following
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return options


def config_files(argv: Sequence[str] | None = None) -> list[Path]:
    """Return the config files that the command line names.

    Args:
        argv: the words of the command line, `sys.argv` by default.

    Returns:
        The paths as given; empty when no `--config_file` is there.
    """
    given = command_line_options(argv).get("config_file")
    if given is None:
        return []
    return [Path(str(name)) for name in (given if isinstance(given, (list, tuple)) else [given])]


def find_bundle_root(name: str) -> str:
    """Find the folder of a bundle, from any working directory and after the folder was moved.

    It is the folder above the `configs/` of the config file on the command line; where there is none (a workflow made
    in Python), the folder that holds this package if that is a packaged bundle or a checkout with `bundles/<name>`;
    else the working directory, MONAI's own convention.

    Args:
        name: folder name of the bundle below `bundles/`.

    Returns:
        Absolute path.
    """
    files = config_files()
    if files and files[0].is_file() and files[0].resolve().parent.name == "configs":
        return str(files[0].resolve().parents[1])
    home = Path(hybrid_attention.__file__).resolve().parents[1]
    for folder in (home, home / "bundles" / name):
        if (folder / "configs" / "metadata.json").is_file():
            return str(folder)
    return str(Path.cwd())


def explain_errors() -> None:
    """Make an uncaught error end with its own message, not with the messages of the layers it passed through.

    MONAI wraps what a component raises in "Failed to instantiate component …", so that the cause stands in the middle
    of a long traceback. After this call the cause is printed once more below it.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.__excepthook__(kind, error, trace)
        cause = error
        while cause.__cause__ is not None and cause.__suppress_context__:
            cause = cause.__cause__
        if cause is not error:
            print(f"\nThe cause: {type(cause).__name__}: {cause}", file=sys.stderr)

    sys.excepthook = hook
