"""Digests by which a network is known again: of its weights, and of all that its output depends on."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hybrid_attention
import torch
from hybrid_attention.data.hashing import file_digest
from torch import nn

# of a module, nothing that its output depends on
_STATES = {"training"}
_PLAIN = (bool, int, float, str, type(None))


def state_digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights and buffers, whatever their layout in memory.

    Args:
        network: on any device.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def network_digest(network: nn.Module) -> str:
    """Return the SHA-256 of what a network computes: weights, modules with their settings, and their source code.

    Networks with the same weights may differ in a setting, and a setting may mean something else in another version of
    the code; both count.

    Args:
        network: on any device.

    Returns:
        64 hexadecimal digits.
    """
    sources = {inspect.getsourcefile(type(module)) for module in network.modules()}
    own = sorted(path for path in sources if path is not None and not _belongs_to_torch(path))
    parts = [
        hybrid_attention.__version__,
        torch.__version__,
        file_digest(own),
        *_settings(network),
        state_digest(network),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _settings(network: nn.Module) -> Iterator[str]:
    """Yield a line for each module: its place, class, and plain attributes."""
    for name, module in network.named_modules():
        plain = {
            key: value
            for key, value in sorted(vars(module).items())
            if not key.startswith("_") and key not in _STATES and _is_plain(value)
        }
        kind = type(module)
        yield f"{name}: {kind.__module__}.{kind.__qualname__} {plain}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(entry) for entry in value)
    if isinstance(value, dict):
        return all(_is_plain(entry) for pair in value.items() for entry in pair)
    return isinstance(value, _PLAIN)


def _belongs_to_torch(path: str) -> bool:
    return Path(torch.__file__).parent in Path(path).parents
