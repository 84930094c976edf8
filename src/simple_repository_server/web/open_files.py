"""Local files held open, or in memory, between requests: what was checked is what is sent.

A file is known by its path, inode, size and modification time (`FileKey`). It is opened once,
compared by its descriptor, and from then on sent from that very descriptor: nothing looks at its
path again. Small files are read from it into memory, if they have the digest they should have.
"""

import asyncio
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePath

from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.resource import FileKey, Resource

DEFAULT_SMALL_FILE_BYTES = 256_000
DEFAULT_MEMORY_BYTES = 32 * 1024 * 1024
#: How many descriptors are held open between requests, and for how long after the last one.
_MAX_OPEN, _HOLD_S = 64, 5.0
#: How much of a file the kernel is asked to read ahead, while a thread still has it.
_AHEAD_BYTES = 2 * 1024 * 1024
_ENTRY_WEIGHT = 500


class OpenFile:
    """A file by its descriptor, which is closed when nobody holds this object any more."""

    # No file object: of one that is collected together with this, Python would warn.
    __slots__ = ("fd", "key")

    def __init__(self, fd: int, key: FileKey) -> None:
        self.fd = fd
        self.key = key

    def is_unchanged(self) -> bool:
        """Whether the file is still what it was when it was opened."""
        stat = os.fstat(self.fd)
        return (stat.st_size, stat.st_mtime_ns) == (self.key.size, self.key.mtime_ns)

    def __del__(self) -> None:
        os.close(self.fd)


class OpenFiles:
    """The files that were sent last: up to `small_bytes` from memory, larger ones held open.

    `memory_bytes` bounds what is in memory. Descriptors are held for seconds only, as the space
    of a file that was deleted is not free before.
    """

    def __init__(
        self,
        *,
        small_bytes: int = DEFAULT_SMALL_FILE_BYTES,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # What memory cannot hold would be read as a whole each time.
        self._small_bytes = min(small_bytes, max(0, memory_bytes - _ENTRY_WEIGHT))
        self._clock = clock
        self._contents: MemoryCache[FileKey, bytes] = MemoryCache(memory_bytes)
        self._open: OrderedDict[FileKey, tuple[OpenFile, float]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._flight: SingleFlight[FileKey, bytes | OpenFile] = SingleFlight()

    def is_small(self, key: FileKey) -> bool:
        """Whether the file is sent from memory."""
        return key.size <= self._small_bytes

    def peek(self, key: FileKey) -> bytes | OpenFile | None:
        """The file's bytes, or the file held open; None if it is neither in memory nor open."""
        content = self._contents.get(key)
        if content is not None or self.is_small(key):
            return content
        self.evict()
        held = self._open.get(key)
        if held is None:
            return None
        file = held[0]
        if not file.is_unchanged():
            del self._open[key]
            return None
        self._open[key] = file, self._clock()
        self._open.move_to_end(key)
        return file

    async def get(self, resource: Resource, key: FileKey) -> bytes | OpenFile:
        """The bytes of a small file, or the file opened, once for all who ask at the same time.

        Raises `SourceUnavailable` if it is not the file it was, or lacks its digest.
        """
        found = self.peek(key)
        if found is None:
            found = await self._flight.run(key, lambda: self._load(resource, key))
        return found

    def evict(self) -> None:
        """Let go of the descriptors that were not used for a while, or are too many."""
        oldest = self._clock() - _HOLD_S
        while self._open:
            key = next(iter(self._open))
            if len(self._open) <= _MAX_OPEN and self._open[key][1] > oldest:
                return
            del self._open[key]

    async def _load(self, resource: Resource, key: FileKey) -> bytes | OpenFile:
        if self.is_small(key):
            content = await asyncio.to_thread(_read, resource, key)
            self._contents.put(key, content, len(content) + _ENTRY_WEIGHT)
            return content
        file = await asyncio.to_thread(_opened, resource, key)
        self._open[key] = file, self._clock()
        self._evict_later()
        return file

    def _evict_later(self) -> None:
        """Evict until none is left, whether files are asked for or not."""
        self.evict()
        if self._open and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_HOLD_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._evict_later()


def _opened(resource: Resource, key: FileKey) -> OpenFile:
    with resource.open_checked() as opened:
        file = OpenFile(os.dup(opened.fileno()), key)
    # What is in the page cache is sent without waiting for a disk.
    os.posix_fadvise(file.fd, 0, min(key.size, _AHEAD_BYTES), os.POSIX_FADV_WILLNEED)
    return file


def _read(resource: Resource, key: FileKey) -> bytes:
    name = PurePath(key.path).name
    with resource.open_checked() as file:
        content = file.read(key.size + 1)
    if len(content) != key.size:
        raise SourceUnavailable("file system", f"{name} changed while it was read")
    if resource.sha256 and hashlib.sha256(content).hexdigest() != resource.sha256:
        raise SourceUnavailable("file system", f"{name} does not have its sha256 digest")
    return content
