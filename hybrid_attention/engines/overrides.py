"""Settings that would not do what they say: MONAI takes misspelt keys in silence, and paths as text of a config."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hybrid_attention.engines.errors import explain_errors
from hybrid_attention.engines.invocation import PATHS, command_line_options, config_files
from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

# options of `python -m monai.bundle run` itself
OWN_OPTIONS = set(
    "run_id init_id final_id meta_file config_file logging_file tracking args_file workflow_name workflow_type".split()
)
# keys that MONAI looks for, though nothing refers to them
_ENTRIES = {"imports", "initialize", "run", "finalize"}
_COUNTS = {"epochs", "batch_size", "image_size"}
_KINDS: dict[type, tuple[Any, str]] = {
    bool: (bool, "True or False"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    dict: (dict, "a mapping"),
}
_WORDS = {"true": "True", "false": "False", "null": "'$None'", "none": "'$None'"}
_TYPED = "--"


def begin_run(resolved: dict[str, Any]) -> None:
    """Check what a run was told before any work is done, and give it its paths as they were written.

    MONAI reads `#` in any text of a config as `::`, and its command line takes `2024` for a number, `a,b` for a tuple
    and `a#b` for `a`. The paths are therefore put among the values that the config has resolved.

    Args:
        resolved: those values, which the expressions of a config know as `__local_refs`.

    Raises:
        ValueError: naming all settings that would not do what they say; see `merge_configs`.
    """
    explain_errors()
    files, options = config_files(), command_line_options()
    config, faults = merge_configs(files, options, sys.argv) if files else ({}, [])
    if faults:
        raise ValueError("; ".join(faults))
    if "config_file" in options:
        paths = {key: value for key, value in {**config, **options}.items() if key in PATHS}
        resolved.update({key: path for key, path in paths.items() if not isinstance(path, dict) and not _is_code(path)})


def merge_configs(
    files: Sequence[Path], options: Mapping[str, Any], entries: Collection[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Merge config files as MONAI does, and find settings that would not do what they say.

    Args:
        files: a complete config, then overlays.
        options: overrides of the command line.
        entries: keys that may be run, to which nothing needs to refer.

    Returns:
        The merged config, without the options, and in words what is wrong: keys that nothing uses (new arguments of a
        component, a dict with `_target_`, are left to it); values of another kind than the config's, or out of range;
        on the command line "true", "false" and "null" in lower case, which are texts there, and None, which MONAI
        leaves out.
    """
    parser, faults, unknown = ConfigParser({}), [], []
    contents = [(f"{path}: ", ConfigParser.load_config_file(path)) for path in files]
    typed = {key: value for key, value in options.items() if key not in OWN_OPTIONS}
    for number, (place, content) in enumerate([*contents, (_TYPED, typed)]):
        for key, value in content.items():
            parent = parser.get(key.replace("#", "::").rpartition("::")[0])
            new_argument = isinstance(parent, dict) and "_target_" in parent
            if number and not (key in parser or new_argument or key in entries or key[0] in "+_" or value == "@run"):
                unknown.append((place, key))
            faults += _value_faults(place, key, value, parser.get().get(key))
            if place != _TYPED:
                with suppress(KeyError, IndexError, ValueError):  # such a key is among the unknown
                    merge_kv(parser, key, value)
    config: dict[str, Any] = parser.get()
    text = str(config).replace("#", "::")
    unused = [
        (place, key)
        for place, key in unknown
        if key not in _ENTRIES and not re.search(rf"[@%]{re.escape(key.replace('#', '::'))}\b", text)
    ]
    for place, key in unused:
        close = difflib.get_close_matches(key, config.keys() - {key for _, key in unused}, n=1, cutoff=0.5)
        hint = f"; did you mean {place if place == _TYPED else ''}{close[0]}?" if close else ""
        faults.append(f"{place}{key} names no key of the config{hint}")
    return config, faults


def _value_faults(place: str, key: str, value: Any, expected: Any) -> list[str]:
    if place == _TYPED and isinstance(value, str) and value in _WORDS:
        return [f"--{key} {value} is the text {value!r}: write {_WORDS[value]}"]
    if place == _TYPED and value is None:
        return [f"--{key} None has no effect, since MONAI leaves it out: write '$None'"]
    kind, what = _KINDS.get(type(expected), (object, ""))
    if key in PATHS:
        kind, what = (str, dict, list), f"a path (write './{value}' for a file or folder of that name)"
    elif key in _COUNTS:
        kind, what = int, "a whole number from 1"
    fits = isinstance(value, kind) and (kind in (bool, object) or not isinstance(value, bool))
    fits = fits and not (key in _COUNTS and value < 1)
    return [] if fits or value is None or _is_code(value) else [f"{place}{key} must be {what}, got {value!r}"]


def _is_code(value: Any) -> bool:
    """Tell whether a text, or one of a list, is an expression, a reference or a macro of MONAI's configs."""
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(text, str) and text.startswith(("$", "@", "%")) for text in texts)
