"""What was derived from a snapshot is remembered for as long as the snapshot lives."""

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import KeyedRef, ref

import msgspec

S = TypeVar("S")
D = TypeVar("D")


class Derived(msgspec.Struct, Generic[S, D], frozen=True):
    """A snapshot derived from another one, and what its owner has to know of that."""

    #: None: the original itself, which as a value would keep its own key alive.
    changed: S | None
    details: D
    #: The original, weakly: when that goes, so does this.
    original: KeyedRef[int, S]

    def of(self, original: S) -> S:
        """The derived snapshot, given the one it was derived from."""
        return original if self.changed is None else self.changed


class DerivedSnapshots(Generic[S, D]):
    """A mapping from a snapshot to the one derived from it, which goes with its key.

    It is by identity, which takes half as long as a `WeakKeyDictionary`: every warm page needs it.
    """

    def __init__(self) -> None:
        self._entries: dict[int, Derived[S, D]] = {}
        # Not `self`, which could then be freed by the garbage collector alone.
        itself = ref(self)

        def forget(original: KeyedRef[int, S]) -> None:
            # Before another object can have this identity, and never for an entry that was
            # replaced: its reference is gone then.
            memo = itself()
            if memo is not None:
                memo._entries.pop(original.key, None)  # noqa: SLF001 - of this class

        self._forget = forget

    def get(self, original: S) -> Derived[S, D] | None:
        """The entry of a snapshot, or None."""
        return self._entries.get(id(original))

    def put(self, original: S, derived: S, details: D) -> None:
        """Remember it, in place of what was derived from the original before."""
        changed, key = None if derived is original else derived, id(original)
        self._entries[key] = Derived(changed, details, KeyedRef(original, self._forget, key))

    def discard_if(self, unwanted: Callable[[S], bool]) -> None:
        """Forget what was derived from the originals that are unwanted."""
        for key, entry in list(self._entries.items()):
            original = entry.original()
            if original is not None and unwanted(original):
                self._entries.pop(key, None)


class SnapshotMemo(Generic[S]):
    """A pure function from snapshot to snapshot, computed once per snapshot.

    This is how a transform returns the same object as long as it is given the same object.
    """

    def __init__(self, function: Callable[[S], S]) -> None:
        self._function = function
        self._results: DerivedSnapshots[S, None] = DerivedSnapshots()

    def peek(self, snapshot: S) -> S | None:
        """The result for the snapshot, or None if it was not computed yet."""
        known = self._results.get(snapshot)
        return None if known is None else known.of(snapshot)

    def __call__(self, snapshot: S) -> S:
        known = self._results.get(snapshot)
        if known is not None:
            return known.of(snapshot)
        result = self._function(snapshot)
        self._results.put(snapshot, result, None)
        return result
