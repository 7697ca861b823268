"""Parts of a config that are made when they are first looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, wraps
from typing import Any, TypeVar, cast

Maker = TypeVar("Maker", bound=Callable[..., Any])


class OnDemand(Sequence[Any]):
    """What a function returns, called when items, length or attributes of it are first asked for.

    A training that gets its images from elsewhere, as on a MONAI Label server, thus writes and reads none of its own.

    Args:
        make: the function.
        arguments: those that it is called with.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        self._make, self._arguments = make, arguments

    @cached_property
    def made(self) -> Any:
        """What the function returned."""
        return self._make(*self._arguments)

    def __getitem__(self, index: Any) -> Any:
        return self.made[index]

    def __len__(self) -> int:
        return len(self.made)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.made, name)


def on_demand(function: Maker) -> Maker:
    """Let a function whose first argument is `OnDemand` return one, too: it then runs when it is needed."""

    @wraps(function)
    def call(first: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(first, OnDemand):
            return OnDemand(lambda: function(first.made, *arguments, **options))
        return function(first, *arguments, **options)

    return cast(Maker, call)
