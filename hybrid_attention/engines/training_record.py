"""The record beside trained weights, `training.json`, and checks of evaluations against it."""

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
from hybrid_attention.engines.command_line import command_line_options, config_files
from hybrid_attention.engines.inferers import choose_precision, computes_bf16, cpu_capability
from hybrid_attention.engines.weights import weights_digest
from monai.bundle import ConfigParser

RECORD = "training.json"
RENAMED = {"networks.peers.": "networks.baselines.", "networks.MTLDUNet": "networks.MultiTaskUNet"}  # until 0.1

# paths, and settings that don't change what a run computes
_FREE = set(
    "bundle_root ckpt_dir ckpt_path dataset_dir output_dir evaluation_dir groups_csv split_csv device num_workers "
    "resume early_stop_patience imports initialize run finalize _meta_".split()
)

logger = logging.getLogger(__name__)


def effective_recipe() -> dict[str, Any]:
    """Return the merged config of `python -m monai.bundle run`, without paths and settings that don't change results.

    It is empty if the process was started otherwise. The number of epochs is included only if the learning-rate
    schedule depends on it. Precision and memory format are those in use, never "auto".
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
    """Describe the differences of two recipes, in one line per top-level key."""
    return [
        f"{key} was {earlier.get(key)!r}, is {now.get(key)!r}"
        for key in sorted({*earlier, *now})
        if earlier.get(key) != now.get(key)
    ]


def check_against_training(
    weights: str | os.PathLike[str], cases: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], part: str = "test"
) -> dict[str, Any] | None:
    """Check that weights are evaluated on unseen images and with the settings of their training.

    The network of the command line is always compared, since another network may have weights of the same shapes. With
    the parts `train` and `validation`, images of that set are allowed. The record is returned with the number of images
    in place of their list, or None if there is none for these weights, which is logged.

    Raises:
        ValueError: the weights have seen some of the images, or a setting differs.
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
                "use the split of its training: the same folder of images, --groups_csv and --split_csv, and --fold "
                "and --split_seed if the command has them"
            )
    now = effective_recipe()
    network = {"network_def": now["network_def"]} if "network_def" in now else {}
    changed = _changed_settings(record, {**settings, **network})
    if changed:
        raise ValueError(f"{weights} was trained with other settings: {'; '.join(changed)}")
    return {**record, "images": {name: len(digests) for name, digests in images.items()}}


def warn_of_other_settings(weights: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
    """Log a warning if weights are used with other settings than in their training, as far as known."""
    record = read_record(weights)
    changed = _changed_settings(record, settings) if record else []
    if changed:
        logger.warning("%s was trained with other settings, so expect worse results: %s", weights, "; ".join(changed))


def trained_setting(weights: str | os.PathLike[str], name: str, default: Any) -> Any:
    """Return a top-level key of the recipe that weights were trained with, `image_size` for example.

    The default is returned if the weights, their record or the key do not exist.
    """
    record = read_record(weights) if Path(weights).is_file() else None
    return record["recipe"].get(name, default) if record else default


def trained_epochs(record: Any) -> int | None:
    """Return the number of epochs that a record asks for; None if an older one does not have it."""
    record = record or {}
    epochs: int | None = record.get("epochs", record.get("recipe", {}).get("epochs"))
    return epochs


def read_record(weights: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Read the record that `Checkpoint` wrote beside weights; None, and a warning, if there is none for them."""
    path = Path(weights).with_name(RECORD)
    if not path.is_file():
        logger.warning("no %s beside %s: its training can't be checked", RECORD, weights)
        return None
    try:
        text = path.read_text(encoding="utf-8")
        for old, new in RENAMED.items():
            text = text.replace(old, new)
        record: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ValueError(f"{path} is not a JSON file") from None
    if not isinstance(record, dict) or "weights_sha256" not in record:
        raise ValueError(f"{path} is not a record of a training: it has no weights_sha256")
    record.setdefault("recipe", {})
    if record["weights_sha256"] != weights_digest(weights):
        logger.warning("%s is not the record of %s: its training is unknown", path, weights)
        return None
    return record


def _changed_settings(record: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    recipe = record["recipe"]
    return differences({key: recipe[key] for key in settings if key in recipe}, settings) if recipe else []


def provenance() -> dict[str, Any]:
    """Return what is needed to repeat a run, as plain values; paths are cut to their last part."""
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
    """Return the commit of the checkout that the package runs from, with "+changes" if tracked files differ.

    It is None outside of a checkout. The environment variable HYBRID_ATTENTION_COMMIT takes precedence, for copies of
    the files without their history.
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
    """Return the processor's name, the vector instructions that torch uses, and the number of threads."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    capability = cpu_capability() + (" with bf16" if computes_bf16("cpu") else "")
    return f"{name} ({capability}), {torch.get_num_threads()} threads"


def without_folder(value: Any, relative: bool = True) -> Any:
    """Return a setting with paths cut to their last part, since the folders of this machine mean nothing elsewhere.

    Expressions, references and macros of a config (`$…`, `@…`, `%…`) are unchanged.

    Args:
        value: the setting, including nested mappings, lists and tuples, which become lists, as in JSON.
        relative: also cut relative paths, that is, any text with a "/".
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
