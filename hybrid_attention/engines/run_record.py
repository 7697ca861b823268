"""The record beside trained weights: how they came about, and what an evaluation must agree with."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hybrid_attention
import monai
import torch
from hybrid_attention.data.hashing import case_digests, file_digest
from hybrid_attention.engines.inferer import choose_precision, computes_bf16, cpu_capability
from hybrid_attention.engines.overrides import command_line_options, config_files
from hybrid_attention.engines.weight_files import weights_digest
from monai.bundle import ConfigParser

RECORD = "training.json"

# settings that don't change what a run computes, or that name places
_FREE = set(
    "bundle_root ckpt_dir ckpt_path dataset_dir output_dir evaluation_dir groups_csv split_csv device num_workers "
    "resume early_stop_patience imports initialize run finalize _meta_".split()
)

logger = logging.getLogger(__name__)


def effective_recipe() -> dict[str, Any]:
    """Return the merged config of the command line, without what names places or changes no result.

    Returns:
        Plain values by top-level key; empty where no command line of `python -m monai.bundle run` is there. The number
        of epochs belongs to it only where the learning-rate schedule depends on it. Precision and memory layout are
        those that this machine computes in, never "auto".
    """
    files = config_files()
    if not files:
        return {}
    parser = ConfigParser()
    parser.read_config([str(path) for path in files])
    known = set(parser.config)
    options = {key.replace("::", "#"): value for key, value in command_line_options().items()}
    options = {key: None if value == "$None" else value for key, value in options.items() if key.split("#")[0] in known}
    parser.update(options)
    recipe = {key: value for key, value in parser.config.items() if key not in _FREE and value != "@run"}
    recipe["encoder_weights"] = without_folder(recipe.get("encoder_weights"))
    if recipe.get("initial_weights") is not None:
        recipe["initial_weights"] = {
            "file": without_folder(recipe["initial_weights"]),
            "sha256": weights_digest(recipe["initial_weights"]),
        }
    if "@epochs" not in json.dumps(recipe.get("lr_scheduler")):
        recipe.pop("epochs", None)
    recipe = json.loads(json.dumps(recipe))
    if "precision" in recipe:
        recipe["precision"] = choose_precision(recipe["precision"], parser.get_parsed_content("device"))
        recipe["channels_last"] = parser.get_parsed_content("channels_last")
    return recipe


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in words where two recipes differ.

    Args:
        earlier: of the run that was.
        now: of the run that is.

    Returns:
        One line a top-level key.
    """
    return [
        f"{key} was {earlier.get(key)!r}, is {now.get(key)!r}"
        for key in sorted({*earlier, *now})
        if earlier.get(key) != now.get(key)
    ]


def check_against_training(
    weights: str | os.PathLike[str], cases: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], part: str = "test"
) -> dict[str, Any] | None:
    """Refuse to score weights on images that they were trained on, or with other settings than in training.

    Args:
        weights: the weight file; the record of its training lies beside it.
        cases: what shall be scored.
        settings: values that must be those of the training's recipe, for example the image size. The network of the
            command line must be that of the training anyway, since other options may leave its weights' shapes alike.
        part: what the cases are meant to be; `train` and `validation` allow for images of that set.

    Returns:
        The record without the list of images, or None where there is none or it is of other weights, which is logged.

    Raises:
        ValueError: images of the training or validation set are among the cases that are not meant to be, or a setting
            differs.
    """
    record = read_record(weights)
    if record is None:
        return None
    images, own = record.pop("images"), case_digests(cases)
    meant = {"train": ("training", "pre-training")}.get(part, (part,))
    for name, digests in images.items():
        seen = set(digests)
        shared = [case["case_id"] for case, digest in zip(cases, own, strict=True) if digest in seen]
        if shared and name not in meant:
            raise ValueError(
                f"{len(shared)} of {len(cases)} images (the first: {shared[0]}) were in the {name} set of {weights}; "
                "they must be split as in its training: the same folder of images, --groups_csv and --split_csv, and "
                "--fold and --split_seed where the command has them"
            )
    changed = _changed_settings(record, {**settings, **_network(effective_recipe())})
    if changed:
        raise ValueError(f"{weights} was trained with other settings: {'; '.join(changed)}")
    return {**record, "images": {name: len(digests) for name, digests in images.items()}}


def warn_of_other_settings(weights: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
    """Log where weights are used with other settings than they were trained with, as far as that is known.

    Args:
        weights: the weight file; the record of its training lies beside it.
        settings: values that should be those of the training's recipe, for example the image size.
    """
    record = read_record(weights)
    changed = _changed_settings(record, settings) if record else []
    if changed:
        logger.warning("%s was trained with other settings, so expect worse results: %s", weights, "; ".join(changed))


def trained_setting(weights: str | os.PathLike[str], name: str, default: Any) -> Any:
    """Return a setting that weights were trained with, where their record tells it.

    Args:
        weights: the weight file; the record of its training lies beside it.
        name: top-level key of the recipe, for example `image_size`.
        default: what is returned where there are no weights, no record, or nothing of that name in it.
    """
    if not Path(weights).is_file():
        return default
    record = read_record(weights)
    return (record or {}).get("recipe", {}).get(name, default)


def read_record(weights: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Read the record beside trained weights.

    Args:
        weights: the weight file.

    Returns:
        What `Checkpoint` wrote; None where there is none or it is of other weights, which is logged.

    Raises:
        ValueError: the record is damaged.
    """
    path = Path(weights).with_name(RECORD)
    if not path.is_file():
        logger.warning("no %s beside %s: how it was trained can't be checked", RECORD, weights)
        return None
    try:
        text = path.read_text(encoding="utf-8").replace("networks.peers.", "networks.baselines.")  # the name until 0.1
        record: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ValueError(f"{path} is damaged: it is no JSON") from None
    if not isinstance(record, dict) or "weights_sha256" not in record:
        raise ValueError(f"{path} is no record of a training: it has no weights_sha256")
    record.setdefault("recipe", {})
    if record["weights_sha256"] != weights_digest(weights):
        logger.warning("%s is of other weights than %s: their training isn't known", path, weights)
        return None
    return record


def _changed_settings(record: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    recipe = record["recipe"]
    return differences({key: recipe[key] for key in settings if key in recipe}, settings) if recipe else []


def _network(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {"network_def": recipe["network_def"]} if "network_def" in recipe else {}


def provenance() -> dict[str, Any]:
    """Collect what someone needs to repeat a run.

    Paths are cut to their last part: folders of this machine say nothing elsewhere.

    Returns:
        Plain values for JSON: config files with their hashes, overrides, version and commit of the code, versions of
        the libraries, processor and accelerator.
    """
    files = [path.resolve() for path in config_files() if path.is_file()]
    options = {key: without_folder(value) for key, value in command_line_options().items() if key != "config_file"}
    return {
        "config_files": {f"{path.parents[1].name}/{path.name}": file_digest([path]) for path in files},
        "overrides": options,
        "version": hybrid_attention.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "processor": processor(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def commit() -> str | None:
    """Return the commit of the checkout that the package runs from, with "+changes" when files differ from it.

    Returns:
        The hash, or None outside of a checkout. The environment variable HYBRID_ATTENTION_COMMIT takes precedence, for
        machines that have a copy of the files without their history.
    """
    given = os.environ.get("HYBRID_ATTENTION_COMMIT")
    if given:
        return given
    home = Path(hybrid_attention.__file__).resolve().parents[1]
    if not (home / "pyproject.toml").is_file():
        return None
    head, changes = _git(home, "rev-parse", "HEAD"), _git(home, "status", "--porcelain", "--untracked-files=no")
    return None if head is None else head + ("+changes" if changes else "")


def processor() -> str:
    """Return the processor's name, the instructions that torch uses of it, and the number of threads."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    capability = cpu_capability() + (" with bf16" if computes_bf16("cpu") else "")
    return f"{name} ({capability}), {torch.get_num_threads()} threads"


def without_folder(value: Any, relative: bool = True) -> Any:
    """Return a setting without folders of this machine: a path is cut to its last part.

    Expressions, references and macros of a config (`$…`, `@…`, `%…`) stay as they are.

    Args:
        value: any value of an option; mappings, lists and tuples are gone through.
        relative: cut relative paths, too, that is any text with a "/".

    Returns:
        The setting; tuples become lists, as in JSON.
    """
    if isinstance(value, Mapping):
        return {key: without_folder(entry, relative) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_folder(entry, relative) for entry in value]
    if not isinstance(value, str) or value.startswith(("$", "@", "%")):
        return value
    return Path(value).name if Path(value).is_absolute() or (relative and "/" in value) else value


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
