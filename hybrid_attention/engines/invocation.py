"""What the command line of `python -m monai.bundle run` says: config files, overrides, the bundle's own folder."""

from __future__ import annotations

import ast
import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import hybrid_attention
from monai.bundle import ConfigParser

METADATA = "configs/metadata.json"
# options of `python -m monai.bundle run` itself
OWN_OPTIONS = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}
_WORDS = {"true": "True", "false": "False", "null": "'$None'", "none": "'$None'"}


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
        The paths as given; without `--config_file` that of the bundle's `train.yaml` in a training that a MONAI Label
        server started, else none.
    """
    given = command_line_options(argv).get("config_file")
    if given is None:
        return _config_of_label_server(sys.argv[1:] if argv is None else argv)
    return [Path(str(name)) for name in (given if isinstance(given, (list, tuple)) else [given])]


def _config_of_label_server(words: Sequence[str]) -> list[Path]:
    """Return the config that a training of MONAI Label reads: `-m train -r '{"bundle_path": …}'`."""
    if list(words[:3]) != ["-m", "train", "-r"]:
        return []
    folder = json.loads(words[3]).get("bundle_path")
    return [] if folder is None else [Path(folder) / "configs" / "train.yaml"]


def own_bundles() -> dict[str, Path]:
    """Return the folders of the bundles that come with this package, by name.

    They are those of the installed package, of its checkout, or the one unpacked archive that holds it.
    """
    package = Path(hybrid_attention.__file__).resolve().parent
    installed, home = [*package.glob(f"bundles/*/{METADATA}")], package.parent
    found = installed or [path for path in (home / METADATA, *home.glob(f"bundles/*/{METADATA}")) if path.is_file()]
    return {path.parents[1].name: path.parents[1] for path in found}


def run_folder(bundle_root: str) -> str:
    """Return the folder that the runs of a bundle write to unless told otherwise.

    Args:
        bundle_root: folder of the bundle.

    Returns:
        The same; for a bundle inside the installed package, a folder of its name in the working directory.
    """
    root, package = Path(bundle_root), Path(hybrid_attention.__file__).resolve().parent
    return str(Path.cwd() / root.name) if package in root.resolve().parents else bundle_root


def find_bundle_root(name: str) -> str:
    """Find the folder of a bundle, from any working directory and after the folder was moved.

    It is the folder above the `configs/` of the config file on the command line; where there is none (a workflow made
    in Python), the bundle of that name among `own_bundles`; else the working directory, MONAI's own convention.

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


def begin_run() -> None:
    """Look at the command line before any work is done, and let errors end with their cause.

    MONAI takes any override: one that names no key of the config has no effect, neither has `--class_names None`, and
    `--resume false` is the text "false", which counts as true. All are refused here.

    Raises:
        ValueError: naming the overrides that would not do what they say.
    """
    explain_errors()
    files = config_files()
    if files:
        check_overrides(ConfigParser.load_config_files([str(path) for path in files]), command_line_options())


def check_overrides(config: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Refuse overrides that would not do what they say.

    Args:
        config: the merged config.
        overrides: from the command line.

    Raises:
        ValueError: an override names no key of the config (new arguments of a component, a dict with `_target_`, are
            left to it), is "true", "false" or "null" in lower case, which are texts on a command line, or is None,
            which MONAI leaves out.
    """
    faults = []
    for key, value in overrides.items():
        if key in OWN_OPTIONS or key.startswith("+"):
            continue
        if isinstance(value, str) and value in _WORDS:
            faults.append(f"--{key} {value} is the text {value!r}: write {_WORDS[value]}")
        if value is None:
            faults.append(f"--{key} None has no effect, since MONAI leaves it out: write '$None'")
        if not _names_something(config, key.replace("::", "#").split("#")):
            close = difflib.get_close_matches(key, config, n=1, cutoff=0.5)
            faults.append(f"--{key} names no key of the config" + (f"; did you mean --{close[0]}?" if close else ""))
    if faults:
        raise ValueError("; ".join(faults))


def _names_something(config: Any, parts: list[str]) -> bool:
    """Follow a nested key; a new argument of a component counts as something."""
    for part in parts:
        if isinstance(config, list):
            if not part.isdigit() or int(part) >= len(config):
                return False
            config = config[int(part)]
        elif isinstance(config, dict) and part in config:
            config = config[part]
        else:
            return isinstance(config, dict) and "_target_" in config and part == parts[-1]
    return True


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
