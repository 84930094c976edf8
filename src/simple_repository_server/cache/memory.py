"""What is kept in memory, within a budget of bytes.

What a value weighs is up to who puts it in: all that is there because of it, its place in here
(`ENTRY_BYTES`) included.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)

#: What an entry takes beside its value: its place in the table, and a key of usual length.
ENTRY_BYTES = 400
_numbers = count()


class Memory(Protocol[K_contra, V]):
    """What can be kept, and may be gone the next time."""

    def get(self, key: K_contra) -> V | None:
        """The value, which counts as used now, or None."""

    def put(self, key: K_contra, value: V, weight: int) -> None:
        """Keep the value, which takes about `weight` bytes, if the budget allows it."""

    def discard(self, key: K_contra) -> None:
        """Forget the value, if it is here."""


class MemoryCache(Generic[K, V]):
    """A mapping that forgets what was not used for longest when it grows beyond `max_bytes`.

    One value larger than the whole budget is not kept at all: the budget holds in any case.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, which counts as used now, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep the value, which takes about `weight` bytes, and forget others if needed."""
        self.discard(key)
        if weight > self.max_bytes:
            return
        self._entries[key] = (value, weight)
        self.bytes += weight
        while self.bytes > self.max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.bytes -= freed

    def discard(self, key: K) -> None:
        """Forget the value, if it is here."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[1]

    def discard_if(self, unwanted: Callable[[K], bool]) -> None:
        """Forget all values by whose keys they are unwanted."""
        for key in [key for key in self._entries if unwanted(key)]:
            self.discard(key)

    def __len__(self) -> int:
        return len(self._entries)


class MemoryPart(Generic[K, V]):
    """A mapping of its own, whose values compete with those of other parts for one budget."""

    def __init__(self, whole: "MemoryCache[Any, Any]") -> None:
        self._whole = whole
        self._number = next(_numbers)

    def get(self, key: K) -> V | None:
        """The value, which counts as used now, or None."""
        value: V | None = self._whole.get((self._number, key))
        return value

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep the value, which takes about `weight` bytes, and forget others if needed."""
        self._whole.put((self._number, key), value, weight)

    def discard(self, key: K) -> None:
        """Forget the value, if it is here."""
        self._whole.discard((self._number, key))
