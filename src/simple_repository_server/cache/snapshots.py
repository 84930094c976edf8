"""Remembering what was made of a snapshot, for as long as the snapshot lives."""

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

S = TypeVar("S")


class SnapshotMemo(Generic[S]):
    """A pure function from snapshot to snapshot, computed once per snapshot.

    This is how a transform returns the same object as long as it is given the same object.
    """

    def __init__(self, function: Callable[[S], S]) -> None:
        self._function = function
        # None stands for the snapshot itself, which as a value would keep its own key alive.
        self._results: WeakKeyDictionary[S, S | None] = WeakKeyDictionary()

    def peek(self, snapshot: S) -> S | None:
        """What was computed of it, or None if that was not done yet."""
        try:
            return self._results[snapshot] or snapshot
        except KeyError:
            return None

    def __call__(self, snapshot: S) -> S:
        result = self.peek(snapshot)
        if result is None:
            result = self._function(snapshot)
            self._results[snapshot] = None if result is snapshot else result
        return result
