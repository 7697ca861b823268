"""Packages that only a part of the users needs."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """Say how the packages of an extra are installed, for the end of an error message.

    Args:
        extra: its name in `pyproject.toml`.
    """
    return f"pip install '.[{extra}]' in a checkout of hybrid_attention"
