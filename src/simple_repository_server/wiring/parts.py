"""Components by what they are made of, so that a new graph takes over what has not changed."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Parts:
    """The components of one graph, each with its key: its kind, its settings, and its own parts.

    A component that the graph `before` made for the same key is used again, with its connections
    and caches. `before` is not held longer than the graph is being built.
    """

    def __init__(self, before: "Parts | None" = None) -> None:
        self._before: dict[Hashable, Any] = {} if before is None else before.made
        self.made: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The component with that key, made if it exists neither here nor in the graph before."""
        found: T
        if key in self.made:
            found = self.made[key]
        else:
            found = self._before[key] if key in self._before else make()
            self.made[key] = found
        return found

    def complete(self) -> None:
        """The graph is built: whatever it did not take over is no longer held."""
        self._before = {}
