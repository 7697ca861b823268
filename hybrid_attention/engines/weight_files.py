"""Files of trained weights: whole or in parts, written by rename, read without running code."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hybrid_attention.data.files import atomic_path
from hybrid_attention.data.hashing import file_digest

BEST = "model.pt"
RELEASED = "released"
# what code hosts and MONAI's model zoo take in one file
LARGEST_PART = 25_000_000

logger = logging.getLogger(__name__)


def save_weights(network: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Save a network's weights by rename.

    Args:
        network: the module.
        path: the file, a plain state dict as MONAI's bundles hold it.

    Raises:
        ValueError: the weights hold NaN or infinity; the file keeps what it held.
    """
    fault = not_finite(network.state_dict())
    if fault:
        raise ValueError(f"{path} was not written: {fault}")
    save_whole({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, Path(path))


def save_released_weights(
    network: torch.nn.Module, folder: str | os.PathLike[str], largest: int = LARGEST_PART
) -> Path:
    """Save a network's weights in half precision (buffers as they are), in parts small enough for a repository.

    Args:
        network: the module.
        folder: the files are `model_1_of_N.pt` … in it; older ones are removed.
        largest: bytes of a part.

    Returns:
        The first part, which `load_weights` takes for all.

    Raises:
        ValueError: a tensor is larger than a part, or holds numbers that half precision can't.
    """
    folder = Path(folder)
    parts: list[dict[str, torch.Tensor]] = [{}]
    room = limit = int(largest * 0.97)  # the container takes some
    learned = {name for name, _ in network.named_parameters()}
    for name, tensor in network.state_dict().items():
        half = (tensor.half() if name in learned else tensor).contiguous()  # variances may exceed half precision
        size = half.numel() * half.element_size()
        if size > limit:
            raise ValueError(f"{name} takes {size} bytes, more than a part of {largest} bytes holds")
        if half.is_floating_point() and not torch.isfinite(half).all():
            raise ValueError(f"{name} holds numbers that half precision can't hold")
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
    """Find the weights of a run or of a bundle.

    Args:
        run: the file itself, the folder that holds it, or the folder of a run or bundle, with `models` in it. Weights
            that were trained there come before those that the bundle was released with.

    Returns:
        The file, or the first of its parts.

    Raises:
        FileNotFoundError: there are none; the message says where else to look.
    """
    run = Path(run)
    found = _weights_in(run)
    if found is not None:
        return found
    if (run / "per_case.csv").is_file():
        parent = os.path.normpath(run / "..")
        where = f", {parent}" if _weights_in(Path(parent)) else ""
        raise FileNotFoundError(f"no weights at {run}, which holds an evaluation: name the folder of the run{where}")
    raise FileNotFoundError(f"no weights at {run}: train first, or name the file of trained ones")


def _weights_in(run: Path) -> Path | None:
    """Return what `find_weights` finds, None where there is nothing."""
    if run.is_file():
        return run
    for folder in (run, run / "models"):
        found = [
            folder / BEST,
            *sorted((folder / RELEASED).glob("model_1_of_*.pt")),
            *sorted(folder.glob("model_1_of_*.pt")),
        ]
        for path in found:
            if path.is_file():
                return path
    return None


def bundle_weights(bundle_root: str | os.PathLike[str]) -> str:
    """Return the weights that a bundle uses unless told otherwise.

    Args:
        bundle_root: folder of the bundle.

    Returns:
        `models/model.pt` where the bundle was trained, else the weights it was released with; where there are none,
        the place where training would put them.
    """
    try:
        return str(find_weights(Path(bundle_root) / "models"))
    except FileNotFoundError:
        return str(Path(bundle_root) / "models" / BEST)


def weight_parts(path: str | os.PathLike[str]) -> list[Path]:
    """List the files that weights consist of.

    Args:
        path: a whole file, or one of its parts.

    Raises:
        FileNotFoundError: the file or one of the other parts is missing.
    """
    path = Path(path)
    numbered = re.fullmatch(r"model_\d+_of_(\d+)\.pt", path.name)
    if numbered is None:
        parts = [path]
    else:
        parts = [path.with_name(f"model_{number}_of_{numbered[1]}.pt") for number in range(1, int(numbered[1]) + 1)]
    for part in parts:
        if not part.is_file():
            raise FileNotFoundError(
                f"no weights at {part}: train the bundle first, or name the file of trained ones (--ckpt_path, or "
                "--initial_weights to start from)"
            )
    return parts


def weights_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a weight file and its parts, as `file_digest` gives it.

    Args:
        path: see `weight_parts`.
    """
    return file_digest(weight_parts(path))


def read_weights(path: str | os.PathLike[str]) -> Any:
    """Read a weight file, or all its parts as one, without running code of the file.

    Args:
        path: a state dict (`model.pt`), or the first of its parts (`model_1_of_2.pt`).

    Returns:
        What the file holds: a state dict, unless it is another kind of file (see `weights_mismatch`).

    Raises:
        FileNotFoundError: no such file, or a part is missing; the message says how to get one.
        ValueError: the file is damaged, or holds more than tensors and plain values.
    """
    weights: Any = None
    parts = weight_parts(path)
    for part in parts:
        try:
            content = torch.load(part, map_location="cpu", weights_only=True)
        except Exception as error:  # zip, pickle and tensor faults alike
            raise ValueError(f"{part} is not a readable weight file: damaged, or not a state dict alone") from error
        if len(parts) == 1:
            return content
        if not isinstance(content, Mapping):
            raise ValueError(f"{part} is not a readable weight file: it holds a {type(content).__name__}")
        weights = {**(weights or {}), **content}
    return weights


def load_weights(network: torch.nn.Module, path: str | os.PathLike[str]) -> torch.nn.Module:
    """Load weights that `save_weights` or a training run wrote.

    Args:
        network: changed in place.
        path: a state dict (`model.pt`), or the first of its parts (`model_1_of_2.pt`).

    Returns:
        The network, in evaluation mode.

    Raises:
        FileNotFoundError: no such file, or a part is missing; the message says how to get one.
        ValueError: the file is damaged, of another architecture, or holds NaN or infinity.
    """
    weights = read_weights(path)
    fault = weights_mismatch(network, weights)
    if fault:
        raise ValueError(f"{path} is of another architecture: {fault}; give the network arguments it was trained with")
    fault = not_finite(weights)
    if fault:
        raise ValueError(f"{path} can't be used: {fault}; its training diverged: train again")
    network.load_state_dict(weights)
    logger.info("loaded trained weights from %s", path)
    return network.eval()


def holds_weights(network: torch.nn.Module, path: str | os.PathLike[str]) -> bool:
    """Tell whether a network's weights are those of a file.

    Args:
        network: the module, perhaps wrapped for several processes.
        path: see `read_weights`.

    Returns:
        False also where there is no such file.
    """
    try:
        weights = read_weights(path)
    except FileNotFoundError:
        return False
    network = getattr(network, "module", network)
    return not weights_mismatch(network, weights) and all(
        torch.equal(tensor.cpu(), weights[name].to(tensor.dtype)) for name, tensor in network.state_dict().items()
    )


def load_initial_weights(network: torch.nn.Module, path: str | os.PathLike[str] | None) -> torch.nn.Module:
    """Load weights that a training shall start from, for example of a pre-training.

    Args:
        network: changed in place.
        path: a state dict (`model.pt`) of the same architecture; None leaves the network as it is.

    Returns:
        The network, in the mode it was in.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or of another architecture.
    """
    mode = network.training
    return network if path is None else load_weights(network, path).train(mode)


def weights_mismatch(network: torch.nn.Module, weights: Any) -> str:
    """Say in one line how a state dict differs from what a network needs; empty when it fits.

    Args:
        network: the module.
        weights: what a file held.

    Returns:
        For example "12 weights missing (tam.query.weight, …), 1 of another shape (…)".
    """
    if not isinstance(weights, Mapping):
        return f"the file holds a {type(weights).__name__}, not a state dict"
    if "objects" in weights:
        return f"the file holds the state of a training run; {BEST} beside it holds the weights alone"
    own = network.state_dict()
    other = {key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape}
    faults = {
        "missing": sorted(own.keys() - weights.keys()),
        "unknown": sorted(weights.keys() - own.keys()),
        "of another shape": sorted(other),
    }
    return ", ".join(
        f"{len(names)} weights {fault} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for fault, names in faults.items()
        if names
    )


def not_finite(weights: Mapping[str, torch.Tensor]) -> str:
    """Say in one line which weights hold NaN or infinity; empty when none does.

    Args:
        weights: a state dict.
    """
    names = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    return f"{len(names)} of {len(weights)} weights hold NaN or infinity (the first: {names[0]})" if names else ""


def save_whole(content: Any, path: Path) -> None:
    """Save with `torch.save`, by rename.

    Args:
        content: what `torch.load` with `weights_only` can read.
        path: the file.
    """
    buffer = io.BytesIO()  # torch.save to a full disk raises no OSError; writing bytes does
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
