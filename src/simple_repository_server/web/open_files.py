"""Local files held open, or in memory, between requests: what was checked is what is sent.

A file is identified by its path, inode, size and modification time (`FileKey`). It is opened once,
verified by its descriptor, and from then on sent from that very descriptor: its path is not used
again. Small files are read into memory, provided they have the digest they should have.
"""

import asyncio
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePath
from typing import TYPE_CHECKING

from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.resource import FileKey, Resource

if TYPE_CHECKING:
    from simple_repository_server.web.reply import Reply

DEFAULT_SMALL_FILE_BYTES = 256_000
#: Up to here bodies are in memory a second time, joined to their heads.
JOINED_BYTES = 32 * 1024
DEFAULT_MEMORY_BYTES = 32 * 1024 * 1024
#: How many descriptors are held open between requests.
_MAX_OPEN = 64
#: For how long they are held open after the last request.
_HOLD_S = 5.0
#: How much of a file the kernel reads ahead when it is opened.
_AHEAD_BYTES = 2 * 1024 * 1024
#: What a small file takes in memory beside its content.
_ENTRY_BYTES = 1500


class OpenFile:
    """A file by its descriptor, which is closed when this object is deleted."""

    # No file object: Python warns when one is deleted together with this.
    __slots__ = ("fd", "key")

    def __init__(self, fd: int, key: FileKey) -> None:
        self.fd = fd
        self.key = key

    def is_unchanged(self) -> bool:
        """Whether the file is unchanged since it was opened."""
        stat = os.fstat(self.fd)
        return (stat.st_size, stat.st_mtime_ns) == (self.key.size, self.key.mtime_ns)

    def __del__(self) -> None:
        os.close(self.fd)


class SmallFile:
    """The content of a file, and the answer that was made of it for the resource `answered`."""

    __slots__ = ("answer", "answered", "content")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.answer: Reply | None = None
        self.answered: Resource | None = None


class OpenFiles:
    """The files that were sent last: up to `small_bytes` each from memory, larger ones held open.

    `memory_bytes` bounds what is in memory. Descriptors are held for seconds only, as the space of
    a deleted file is not freed before they are closed.
    """

    def __init__(
        self,
        *,
        small_bytes: int = DEFAULT_SMALL_FILE_BYTES,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._small_bytes = small_bytes
        self._clock = clock
        self._contents: MemoryCache[FileKey, SmallFile] = MemoryCache(memory_bytes)
        self._open: OrderedDict[FileKey, tuple[OpenFile, float]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._flight: SingleFlight[FileKey, SmallFile | OpenFile] = SingleFlight()

    def is_small(self, key: FileKey) -> bool:
        """Whether the file is sent from memory."""
        # What does not fit into memory would be read as a whole each time.
        return key.size <= self._small_bytes and _weight(key.size) <= self._contents.max_bytes

    def peek(self, key: FileKey) -> SmallFile | OpenFile | None:
        """The small file, or the file held open; None if it is neither in memory nor open."""
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

    async def get(self, resource: Resource, key: FileKey) -> SmallFile | OpenFile:
        """The small file, or the file opened; concurrent calls read or open it once.

        Raises `SourceUnavailable` if the file was replaced, or does not have its digest.
        """
        found = self.peek(key)
        if found is None:
            found = await self._flight.run(key, lambda: self._load(resource, key))
        return found

    def evict(self) -> None:
        """Close the descriptors that were not used for a while, or are too many."""
        oldest = self._clock() - _HOLD_S
        while self._open:
            key = next(iter(self._open))
            if len(self._open) <= _MAX_OPEN and self._open[key][1] > oldest:
                return
            del self._open[key]

    async def _load(self, resource: Resource, key: FileKey) -> SmallFile | OpenFile:
        if self.is_small(key):
            small = SmallFile(await asyncio.to_thread(_read, resource, key))
            self._contents.put(key, small, _weight(key.size))
            return small
        file = await asyncio.to_thread(_open, resource, key)
        self._open[key] = file, self._clock()
        self._evict_later()
        return file

    def _evict_later(self) -> None:
        """Evict now and then until none is left, whether or not files are requested."""
        self.evict()
        if self._open and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_HOLD_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._evict_later()


def _weight(size: int) -> int:
    """How many bytes of memory a small file takes, with the copy joined to its answer's head."""
    return _ENTRY_BYTES + size + (size if size <= JOINED_BYTES else 0)


def _open(resource: Resource, key: FileKey) -> OpenFile:
    with resource.open_checked() as opened:
        file = OpenFile(os.dup(opened.fileno()), key)
    # `sendfile` does not wait for the disk then.
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
