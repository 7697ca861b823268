"""Files of trained weights, whole or in parts: written by rename, read without executing code."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hybrid_attention.data.hashing import file_digest
from hybrid_attention.data.writing import atomic_path
from hybrid_attention.networks.pretrained import mismatch, not_finite

BEST = "model.pt"
RELEASED = "released"
# file size limit of code hosts and MONAI's model zoo
LARGEST_PART = 25_000_000

logger = logging.getLogger(__name__)


def save_weights(network: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Save a network's weights as a plain state dict, as in MONAI's bundles, by rename.

    Raises:
        ValueError: the weights contain NaN or infinity; an existing file is kept.
    """
    fault = not_finite(network.state_dict())
    if fault:
        raise ValueError(f"{path} was not written: {fault}")
    save_whole({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, Path(path))


def save_released_weights(
    network: torch.nn.Module, folder: str | os.PathLike[str], largest: int = LARGEST_PART
) -> Path:
    """Save a network's weights in half precision (buffers unchanged), in parts small enough for a repository.

    Older parts in the folder are removed. The first part is returned, which `load_weights` accepts for all.
    """
    folder = Path(folder)
    parts: list[dict[str, torch.Tensor]] = [{}]
    room = limit = int(largest * 0.97)  # the container needs some
    learned = {name for name, _ in network.named_parameters()}
    for name, tensor in network.state_dict().items():
        half = (tensor.half() if name in learned else tensor).contiguous()  # variances may exceed half precision
        size = half.numel() * half.element_size()
        if size > limit:
            raise ValueError(f"{name} has {size} bytes, more than a part may have ({largest})")
        if half.is_floating_point() and not torch.isfinite(half).all():
            raise ValueError(f"{name} is out of the range of half precision")
        if size > room and parts[-1]:
            parts.append({})
            room = limit
        parts[-1][name] = half
        room -= size
    paths = [folder / f"model_{number}_of_{len(parts)}.pt" for number in range(1, len(parts) + 1)]
    for part, path in zip(parts, paths, strict=True):
        save_whole(part, path)
    for old in set(folder.glob("model_*_of_*.pt")) - set(paths):
        old.unlink()
    return paths[0]


def find_weights(run: str | os.PathLike[str]) -> Path:
    """Find the weights of a run or of a bundle: the file, or the first of its parts.

    Args:
        run: the file, its folder, or the folder of a run or bundle, which contains `models`. Trained weights take
            precedence over released ones.
    """
    run = Path(run)
    if found := _weights_in(run):
        return found
    if (run / "per_case.csv").is_file():
        parent = os.path.normpath(run / "..")
        where = f", {parent}" if _weights_in(Path(parent)) else ""
        raise FileNotFoundError(f"no weights at {run}, which is an evaluation; use the folder of the run{where}")
    raise FileNotFoundError(f"no weights at {run}: train first, or give another file of weights")


def _weights_in(run: Path) -> Path | None:
    if run.is_file():
        return run
    names = (BEST, f"{RELEASED}/model_1_of_*.pt", "model_1_of_*.pt")
    found = (sorted(folder.glob(name)) for folder in (run, run / "models") for name in names)
    return next((paths[0] for paths in found if paths), None)


def bundle_weights(bundle_root: str | os.PathLike[str]) -> str:
    """Return the weights that a bundle uses by default, or the path where training would write them."""
    models = Path(bundle_root) / "models"
    return str(_weights_in(models) or models / BEST)


def weight_parts(path: str | os.PathLike[str]) -> list[Path]:
    """List the files that weights consist of, given a whole file or one of its parts; all of them must exist."""
    path = Path(path)
    numbered = re.fullmatch(r"model_\d+_of_(\d+)\.pt", path.name)
    parts = [path]
    if numbered:
        parts = [path.with_name(f"model_{number}_of_{numbered[1]}.pt") for number in range(1, int(numbered[1]) + 1)]
    for part in parts:
        if not part.is_file():
            raise FileNotFoundError(
                f"no weights at {part}: train the bundle first, or give another file of weights (--ckpt_path, or "
                "--initial_weights for training)"
            )
    return parts


def weights_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a weight file, or of all parts of which `path` is one."""
    return file_digest(weight_parts(path))


def read_weights(path: str | os.PathLike[str]) -> Any:
    """Read a weight file, or all its parts as one, without executing code from it.

    Raises:
        FileNotFoundError: the file or one of its parts does not exist.
        ValueError: the file is damaged, or contains more than tensors and plain values.
    """
    weights: dict[str, Any] = {}
    parts = weight_parts(path)
    for part in parts:
        try:
            content = torch.load(part, map_location="cpu", weights_only=True)
        except Exception as error:  # zip, pickle and tensor faults alike
            raise ValueError(f"{part} is not a weight file: damaged, or not a plain state dict") from error
        if len(parts) == 1:
            return content
        if not isinstance(content, Mapping):
            raise ValueError(f"{part} is not a weight file: it contains a {type(content).__name__}")
        weights.update(content)
    return weights


def load_weights(network: torch.nn.Module, path: str | os.PathLike[str]) -> torch.nn.Module:
    """Load weights into a network and return it, in evaluation mode.

    Raises:
        ValueError: the file is damaged, does not fit the network, or contains NaN or infinity.
    """
    weights = read_weights(path)
    fault = weights_mismatch(network, weights)
    if fault:
        raise ValueError(f"{path} does not fit the network: {fault}; use the network arguments of its training")
    fault = not_finite(weights)
    if fault:
        raise ValueError(f"{path} can't be used: {fault}; its training diverged, train again")
    network.load_state_dict(weights)
    logger.info("loaded trained weights from %s", path)
    return network.eval()


def holds_weights(network: torch.nn.Module, path: str | os.PathLike[str]) -> bool:
    """Return whether a network, perhaps wrapped for several processes, has the weights of a file, if it exists."""
    try:
        weights = read_weights(path)
    except FileNotFoundError:
        return False
    network = getattr(network, "module", network)
    return not weights_mismatch(network, weights) and all(
        torch.equal(tensor.cpu(), weights[name].to(tensor.dtype)) for name, tensor in network.state_dict().items()
    )


def load_initial_weights(network: torch.nn.Module, path: str | os.PathLike[str] | None) -> torch.nn.Module:
    """Load the initial weights of a training, if any, as `load_weights`, without a change of mode."""
    mode = network.training
    return network if path is None else load_weights(network, path).train(mode)


def weights_mismatch(network: torch.nn.Module, weights: Any) -> str:
    """Describe in one line how the content of a weight file differs from a network's state dict; empty if it fits."""
    if not isinstance(weights, Mapping):
        return f"it contains a {type(weights).__name__}, not a state dict"
    if "objects" in weights:
        return f"it is the checkpoint of a training; the weights are in {BEST} beside it"
    return mismatch(network.state_dict(), weights)


def save_whole(content: Any, path: Path) -> None:
    """Save with `torch.save`, by rename."""
    buffer = io.BytesIO()  # torch.save to a full disk raises no OSError; writing bytes does
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
