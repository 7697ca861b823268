"""The command line of `python -m monai.bundle run`: its overrides, which MONAI does not check, and its errors."""

from __future__ import annotations

import atexit
import difflib
import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

# options of `python -m monai.bundle run` itself
OWN_OPTIONS = set("run_id init_id final_id meta_file config_file logging_file tracking args_file".split())
_PATHS = set("bundle_root dataset_dir output_dir ckpt_dir ckpt_path evaluation_dir groups_csv split_csv".split())
_WORDS = {"true": "True", "false": "False", "null": "'$None'", "none": "'$None'"}
_FLAG = re.compile(r"--?([A-Za-z_][^=]+)(?:=(.*))?", re.DOTALL)


def command_line_options(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the options of a command line (default: `sys.argv`) and its `--args_file`, as MONAI reads them."""
    words = list(sys.argv[1:] if argv is None else argv)
    options: dict[str, Any] = {}
    for word, following in zip(words, [*words[1:], "--end"], strict=False):
        if flag := _FLAG.fullmatch(word):
            value = flag[2] if flag[2] is not None else "True" if _FLAG.fullmatch(following) else following
            key = flag[1].replace("-", "_")
            options[key] = value if key in _PATHS and "#" in value else DefaultParseValue(value)
    if "args_file" in options:
        file = ConfigParser.load_config_file(str(options["args_file"]))
        options = {**without_none(file), **options}
    return options


def config_files(argv: Sequence[str] | None = None) -> list[Path]:
    """Return the config files of a command line (default: `sys.argv`), as given."""
    given = command_line_options(argv).get("config_file", [])
    return [Path(str(name)) for name in (given if isinstance(given, (list, tuple)) else [given])]


def without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace None, which the command line ignores, by an expression."""
    return {key: "$None" if value is None else value for key, value in options.items()}


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
    """Raise a ValueError that lists all faults that `merge_configs` finds in the command line.

    It also has the root cause of an uncaught error printed again at the end, since MONAI wraps errors of components in
    "Failed to instantiate component …", with the cause in the middle of a long traceback.
    """
    atexit.unregister(_print_cause)
    atexit.register(_print_cause)
    faults = merge_configs(config_files(), command_line_options(), sys.argv)[1] if config_files() else []
    if faults:
        raise ValueError("; ".join(faults))


def merge_configs(
    files: Sequence[Path], options: Mapping[str, Any], entries: Collection[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Merge config files as MONAI does, and find settings that have no effect or another one than intended.

    Args:
        files: a complete config, then overlays.
        options: overrides of the command line.
        entries: keys that can be run, so that no reference to them is needed.

    Returns:
        The merged config, without the options, and messages on unused keys (new arguments of a component are not
        checked) and on values of the command line that MONAI misinterprets.
    """
    parser, faults, unknown = ConfigParser({}), [], []
    contents = [(f"{path}: ", ConfigParser.load_config_file(path)) for path in files]
    contents.append(("--", {key: value for key, value in options.items() if key not in OWN_OPTIONS}))
    for number, (place, content) in enumerate(contents):
        for key, value in content.items():
            parent = parser.get(key.replace("#", "::").rpartition("::")[0])
            new_argument = isinstance(parent, dict) and "_target_" in parent
            entry = key in {*entries, "imports", "initialize", "run", "finalize"} or value == "@run"
            if number and not (key in parser or new_argument or entry or key[0] in "+_"):
                unknown.append((place, key))
            if place == "--":
                faults += _typed_faults(key, value, parser.get(key.replace("#", "::")))
                continue
            with suppress(KeyError, IndexError, ValueError):  # such a key is among the unknown
                merge_kv(parser, key, value)
    config: dict[str, Any] = parser.get()
    text = str(config).replace("#", "::")
    for place, key in unknown:
        if not re.search(rf"[@%]{re.escape(key.replace('#', '::'))}\b", text):
            close = difflib.get_close_matches(key, config.keys() - {key for _, key in unknown}, n=1, cutoff=0.5)
            hint = f"; did you mean {place if place == '--' else ''}{close[0]}?" if close else ""
            faults.append(f"{place}{key} is not a key of the config{hint}")
    return config, faults


def _typed_faults(key: str, value: Any, default: Any) -> list[str]:
    if type(default) is int and isinstance(value, float):
        return [f"--{key} must be a whole number, got {value}"]
    if value is None or (isinstance(value, str) and value in _WORDS):
        return [f"--{key} {value} is read as text or ignored: write {_WORDS[str(value).lower()]}"]
    if key in _PATHS and (not isinstance(value, (str, list, dict)) or "#" in str(value)):
        return [f"--{key} {value} is not read as a path: write ./2024 instead of 2024, ./a,b instead of a,b; avoid #"]
    return []


def root_cause(error: BaseException) -> BaseException:
    """Return the error that MONAI wraps in "Failed to instantiate component …" and the like."""
    seen: set[int] = set()  # the chain may be circular, as after `raise root_cause(error) from error`
    while error.__cause__ is not None and str(error).startswith("Failed to ") and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    return error


def _print_cause() -> None:
    error: BaseException | None = getattr(sys, "last_value", None)
    if error is not None and root_cause(error) is not error:
        print(f"\nThe cause: {type(root_cause(error)).__name__}: {root_cause(error)}", file=sys.stderr)
