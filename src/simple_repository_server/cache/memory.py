"""Caches in memory: least recently used entries are evicted to stay within a budget of bytes.

The caller states the weight of a value: all the memory it occupies, its entry in the cache
(`ENTRY_BYTES`) included.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)

#: What an entry occupies beside its value: its slot in the table, and a key of usual length.
ENTRY_BYTES = 400
_numbers = count()


class Memory(Protocol[K_contra, V]):
    """A cache: a value that was put in may be evicted at any time."""

    def get(self, key: K_contra) -> V | None:
        """The value, which becomes the most recently used one, or None."""

    def put(self, key: K_contra, value: V, weight: int) -> None:
        """Store the value, which occupies about `weight` bytes, if the budget allows it."""

    def discard(self, key: K_contra) -> None:
        """Remove the value, if there is one."""


class MemoryCache(Generic[K, V]):
    """A mapping that evicts least recently used entries when it exceeds `max_bytes`.

    A value larger than the whole budget is not stored at all.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, which becomes the most recently used one, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Store the value, which occupies about `weight` bytes, and evict others if needed."""
        self.discard(key)
        if weight > self.max_bytes:
            return
        self._entries[key] = (value, weight)
        self.bytes += weight
        while self.bytes > self.max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.bytes -= freed

    def discard(self, key: K) -> None:
        """Remove the value, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[1]

    def discard_if(self, unwanted: Callable[[K], bool]) -> None:
        """Remove all values whose keys are unwanted."""
        for key in [key for key in self._entries if unwanted(key)]:
            self.discard(key)

    def peek(self, key: K) -> V | None:
        """The value or None, as `get`, but it does not count as use."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def snapshot(self) -> dict[K, V]:
        """All values by their keys, which does not count as use."""
        return {key: value for key, (value, _) in self._entries.items()}

    def __len__(self) -> int:
        return len(self._entries)


class MemoryPart(Generic[K, V]):
    """A mapping that shares one budget with other parts of the `whole`."""

    def __init__(self, whole: "MemoryCache[Any, Any]") -> None:
        self._whole = whole
        self._number = next(_numbers)

    def get(self, key: K) -> V | None:
        """The value, which becomes the most recently used one, or None."""
        value: V | None = self._whole.get((self._number, key))
        return value

    def put(self, key: K, value: V, weight: int) -> None:
        """Store the value, which occupies about `weight` bytes, and evict others if needed."""
        self._whole.put((self._number, key), value, weight)

    def discard(self, key: K) -> None:
        """Remove the value, if there is one."""
        self._whole.discard((self._number, key))

    def discard_if(self, unwanted: Callable[[K], bool]) -> None:
        """Remove all values of this part whose keys are unwanted."""
        self._whole.discard_if(lambda key: key[0] == self._number and unwanted(key[1]))


def part_of(
    whole: "MemoryCache[Any, Any] | None", own_bytes: int
) -> MemoryCache[Any, Any] | MemoryPart[Any, Any]:
    """A part of the shared budget `whole`; without one, a cache of its own of `own_bytes`."""
    return MemoryCache(own_bytes) if whole is None else MemoryPart(whole)
