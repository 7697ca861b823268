"""Bundles: their folders, their commands with a check of overrides, and the errors of MONAI's runner."""

from __future__ import annotations

import atexit
import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hybrid_attention
from fire.parser import DefaultParseValue
from hybrid_attention import data, phantoms
from hybrid_attention.engines.command_line import command_line_options, config_files, merge_configs, without_none

METADATA = "configs/metadata.json"


def own_bundles() -> dict[str, Path]:
    """Return the folders of this package's bundles, by name.

    They are in the installed package or its checkout, or are the unpacked archive that contains the package.
    """
    package = Path(hybrid_attention.__file__).resolve().parent
    installed, home = [*package.glob(f"bundles/*/{METADATA}")], package.parent
    found = installed or [path for path in (home / METADATA, *home.glob(f"bundles/*/{METADATA}")) if path.is_file()]
    return {path.parents[1].name: path.parents[1] for path in found}


def run_folder(bundle_root: str) -> str:
    """Return the default output folder for the runs of a bundle.

    Args:
        bundle_root: folder of the bundle.

    Returns:
        The bundle's folder; for a bundle in the installed package, a folder of its name in the working directory.
    """
    root, package = Path(bundle_root), Path(hybrid_attention.__file__).resolve().parent
    return str(Path.cwd() / root.name) if package in root.resolve().parents else bundle_root


def find_bundle_root(name: str) -> str:
    """Find the folder of a bundle, from any working directory and even if it was moved.

    It is the parent of the `configs/` folder of the config file on the command line; without a command line (a workflow
    created in Python), the bundle of that name in `own_bundles`; else the working directory, as in MONAI.

    Args:
        name: folder name of the bundle below `bundles/`.

    Returns:
        Absolute path.
    """
    files = config_files()
    if files and files[0].is_file() and files[0].resolve().parent.name == "configs":
        return str(files[0].resolve().parents[1])
    for folder in own_bundles().values():
        if folder.name == name or (folder / "hybrid_attention").is_dir():  # an archive's folder may have another name
            return str(folder)
    return str(Path.cwd())


def default_images(bundle_root: str) -> data.OnDemand:
    """Return a folder of synthetic phantoms, which are written on first use.

    Args:
        bundle_root: folder of the bundle.
    """
    return data.OnDemand(lambda: phantoms.write_phantom_dataset(run_folder(bundle_root) + "/data/phantoms"))


def command_words(options: Mapping[str, Any]) -> list[str]:
    """Return options as words of a command line that `monai.bundle` reads back unchanged."""
    words = []
    for key, value in without_none(options).items():
        texts = [json.dumps(value, ensure_ascii=False), repr(value)]
        if isinstance(value, str) and not value.startswith("-"):
            texts.insert(0, value)
        words += [f"--{key}", next(text for text in texts if DefaultParseValue(text) == value)]
    return words


def check_overrides() -> None:
    """Raise a ValueError that lists all faults that `merge_configs` finds in the command line."""
    explain_errors()
    faults = merge_configs(config_files(), command_line_options(), sys.argv)[1] if config_files() else []
    if faults:
        raise ValueError("; ".join(faults))


@cache
def explain_errors() -> None:
    """Print the root cause of an uncaught error again as the last line of the output.

    MONAI wraps errors of components in "Failed to instantiate component …", so that the cause is in the middle of a
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
