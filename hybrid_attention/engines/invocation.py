"""What the command line of `python -m monai.bundle run` says: config files, overrides, the bundle's own folder."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hybrid_attention
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser, update_kwargs

METADATA = "configs/metadata.json"
# keys that name a file or folder
PATHS = {
    *("bundle_root", "dataset_dir", "output_dir", "ckpt_dir", "ckpt_path", "evaluation_dir"),
    *("groups_csv", "split_csv", "encoder_weights", "initial_weights"),
}
_FLAG = re.compile(r"--?([A-Za-z_][^=]+)(?:=(.*))?", re.DOTALL)


def command_line_options(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the options of a command line and of its `--args_file`, read as `python -m monai.bundle` does.

    Args:
        argv: the words of the command line, `sys.argv` by default.

    Returns:
        Values by key; those that are Python literals as such, others as text. A path is the text that was typed.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    options: dict[str, Any] = {}
    for index, word in enumerate(words):
        if flag := _FLAG.fullmatch(word):
            key, value = flag[1].replace("-", "_"), flag[2]
            if value is None:
                following = words[index + 1] if index + 1 < len(words) else "True"
                value = "True" if _FLAG.fullmatch(following) else following
            options[key] = _typed_path(value) if key in PATHS else DefaultParseValue(value)
    if "args_file" in options:
        file = ConfigParser.load_config_file(str(options["args_file"])).items()
        defaults = {key: "$None" if value is None else value for key, value in file}
        options = update_kwargs(defaults, ignore_none=False, **options)
    return options


def _typed_path(text: str) -> Any:
    """Take a path, or a list of them, as it was typed: 2024, a,b or study#7; the quotes of a literal are left out."""
    if text.startswith("["):
        paths = DefaultParseValue(text)
        return [str(path) for path in paths] if isinstance(paths, list) else paths
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, str | bool | dict | None) else text


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
