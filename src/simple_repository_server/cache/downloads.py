"""One transfer of a file into the cache, and any number of readers of what has arrived.

    origin ──chunks──▶ Download ──batches, in threads──▶ file, digest
                          │
                          └──▶ readers: from memory at the front, from the file behind it

Readers may have all but the end (`HELD_BACK_BYTES`) at once; that comes when all has proved right.
"""

import asyncio
import contextlib
import hashlib
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from errno import EIO
from typing import Any, ParamSpec, TypeVar

from simple_repository_server.cache.pace import Pace, TransferLimits
from simple_repository_server.cache.write_behind import RunInThread, WriteBehind
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.errors import SourceInvalid, SourceUnavailable, TransferAborted
from simple_repository_server.observe.events import Emit, TransferResumed, ignore
from simple_repository_server.resource import CHUNK_BYTES, HELD_BACK_BYTES, RawBody, Resource

P = ParamSpec("P")
T = TypeVar("T")

#: What readers at the front find in memory, and how far disk and digest may fall behind.
_RECENT_BYTES, _MOST_BEHIND_BYTES = 4 * 1024 * 1024, 16 * 1024 * 1024
#: What one transfer may have in memory, and which part of that is for readers at the front.
MOST_IN_MEMORY_BYTES, _RECENT_PART = _RECENT_BYTES + _MOST_BEHIND_BYTES, 4
_PIECE_BYTES = 64 * 1024
#: How often in a row a transfer that broke off is continued without getting anywhere.
_RESUMES, _BACKOFF_S = 4, 0.2
DEFAULT_LIMITS = TransferLimits()


class DiskTrouble(Exception):
    """The disk does not take the file or give it back: who reads it has to do without."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Download:
    """A transfer of `origin` into `file`. Run it as a task of its own: no reader owns it.

    `what` is what errors call it. `in_thread` runs blocking work. `memory_bytes` says how much may
    be in memory right now.
    """

    def __init__(
        self,
        origin: Resource,
        file: PartialFile,
        *,
        what: str,
        in_thread: RunInThread,
        memory_bytes: Callable[[], int] = lambda: MOST_IN_MEMORY_BYTES,
        limits: TransferLimits = DEFAULT_LIMITS,
        emit: Emit = ignore,
    ) -> None:
        self.origin = origin
        self.what = what
        #: How many bytes have arrived.
        self.received = 0
        #: How many there will be; None as long as nobody said.
        self.total = origin.size
        #: What the origin calls this version of the bytes, once it has answered.
        self.version = origin.version
        self.begun = False
        self.complete = False
        self.error: Exception | None = None
        self._file = file
        self._in_thread = in_thread
        self._memory_bytes = memory_bytes
        self._limits = limits
        self._pace = Pace(limits, time.monotonic())
        self._ended_at: float | None = None
        self._emit = emit
        self._recent: deque[tuple[int, bytes]] = deque()
        self._recent_bytes = 0
        names = {"sha256", *list(origin.hashes)[:1]}
        self._hashers = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        self._written = WriteBehind(self._write, in_thread, self._forget_written)
        self._digested = WriteBehind(self._digest, in_thread)
        self._changed = asyncio.Event()
        self._holders = 0
        self._closing: asyncio.Future[Any] | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the file open: it is closed when nobody holds it any more."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._closing = asyncio.ensure_future(self._in_thread(self._file.close))

    async def closed(self) -> None:
        """Wait until the file is closed, unless somebody holds it still."""
        if self._closing is not None:
            await asyncio.wait([self._closing])

    async def run(self) -> str:
        """Fetch all of it; the sha256 of what is in the file then, all right.

        Raises `TransferAborted`, what opening the origin raises, or `DiskTrouble`.
        """
        try:
            await self._fetch_in_time()
            await self._digested.finish()
            sha256 = self._checked()
            self.complete = True
            self._tell()
            await self._written.finish()
        except Exception as error:
            self.error = error
            raise
        finally:
            # Not to be stopped: threads are at work.
            await self._digested.settle()
            await self._written.settle()
            if self.error is None and not self.complete:
                self.error = TransferAborted(f"The server stopped while it fetched {self.what}.")
            self._ended_at = time.monotonic()
            self._tell()
        return sha256

    async def has_begun(self) -> bool:
        """Wait until the origin has answered; False if the disk is no use.

        Raises what `run` raises, if that was no file.
        """
        while not self.begun:
            if isinstance(self.error, DiskTrouble):
                return False
            if self.error is not None:
                raise self.error
            await self._changed.wait()
        return True

    async def read(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop` (None: the end), as they arrive.

        Raises what `run` raises (`TransferAborted`, once some have come), and `DiskTrouble` if they
        cannot be read back.
        """
        position = start
        while stop is None or position < stop:
            self._check_reader()
            limit = self._readable() if stop is None else min(self._readable(), stop)
            if position < limit:
                chunk = await self._chunk(position, limit)
                position += len(chunk)
                yield chunk
            elif self.complete:
                return
            elif self.error is not None:
                if position > start and isinstance(self.error, SourceUnavailable):
                    raise TransferAborted(str(self.error)) from self.error
                raise self.error
            else:
                await self._changed.wait()

    @property
    def _seconds(self) -> float:
        """How long it may take, and who reads it after that."""
        return self._limits.seconds_for(self.origin.size)

    def _check_reader(self) -> None:
        """Whoever reads for longer than it took to fetch it may not keep the file for ever."""
        ended_at = self._ended_at
        if ended_at is not None and time.monotonic() - ended_at > self._seconds:
            raise TransferAborted(f"Its client took too long for {self.what}.")

    async def _fetch_in_time(self) -> None:
        seconds = self._seconds
        try:
            async with asyncio.timeout(seconds) as deadline:
                await self._fetch()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise _Wrong(f"{self.what} was not complete within {seconds:.0f} s.") from error

    async def _fetch(self) -> None:
        """Fetch it, going on where it breaks off, as long as that leads on."""
        failures = 0
        while True:
            before = self.received
            try:
                async with self.origin.open_raw(before, version=self.version) as transfer:
                    return await self._take_all(transfer)
            except (TransferAborted, SourceUnavailable) as error:
                failures = 1 if self.received > before else failures + 1
                if failures > _RESUMES or not self._can_resume(error):
                    raise
                self._check_pace()
                text = str(error)
            self._emit(TransferResumed(file=self.what, at=self.received, reason=text))
            await asyncio.sleep(_BACKOFF_S * 2**failures * random.uniform(0.5, 1))  # noqa: S311

    def _check_pace(self) -> None:
        if self._pace.is_too_slow(self.received, time.monotonic()):
            least, window = self._limits.least_bytes, self._limits.window_s
            raise _Wrong(f"{self.what} came too slowly: under {least} bytes in {window:.0f} s.")

    def _can_resume(self, error: Exception) -> bool:
        """Whether going on is worth it, and sure to go on with the same bytes."""
        if not self.received or isinstance(error, SourceInvalid | _Wrong):
            return False
        return bool(self.origin.hashes) or self.version is not None

    def _is_other_version(self, transfer: RawBody) -> bool:
        """Whether what has come may not be part of it. A part that was sent on condition is."""
        if self.origin.hashes or (transfer.start and transfer.version is None):
            return False
        return transfer.version != self.version

    async def _take_all(self, transfer: RawBody) -> None:
        if transfer.total is not None:
            if self.total is not None and self.total != transfer.total:
                raise _Wrong(f"{self.what} has another size now than before.")
            if self.total is None:
                await self._on_disk(self._file.expect, transfer.total)
            self.total = transfer.total
        if self.received and self._is_other_version(transfer):
            raise _Wrong(f"{self.what} has changed at its origin while it was fetched.")
        self.version = transfer.version or self.version
        self.begun = True
        self._tell()
        skip = self.received - transfer.start
        async for chunk in transfer.chunks:
            if skip:
                skip, chunk = max(0, skip - len(chunk)), chunk[skip:]  # noqa: PLW2901
            if chunk:
                await self._take(chunk)
        if self.total is not None and self.received < self.total:
            raise TransferAborted(f"{self.what} ended after {self.received} of {self.total} bytes.")

    async def _take(self, chunk: bytes) -> None:
        if self.total is not None and self.received + len(chunk) > self.total:
            raise _Wrong(f"{self.what} is longer than the {self.total} bytes it should have.")
        self._put_in_reach(chunk)
        self._check_pace()
        self._tell()
        self._digested.give(chunk)
        self._written.give(chunk)
        memory = self._memory_bytes()
        most = min(_MOST_BEHIND_BYTES, memory - memory // _RECENT_PART)
        for work in (self._digested, self._written):
            if work.given - work.done > most:
                await work.finish()

    def _put_in_reach(self, chunk: bytes) -> None:
        """Let readers have it, in pieces that are worth it: each one costs each reader a turn."""
        if self._recent and len(self._recent[-1][1]) < _PIECE_BYTES:
            start, before = self._recent.pop()
            self._recent.append((start, before + chunk))
        else:
            self._recent.append((self.received, chunk))
        self._recent_bytes += len(chunk)
        self.received += len(chunk)

    def _write(self, chunks: Sequence[bytes]) -> None:
        try:
            self._file.append(chunks)
        except OSError as error:
            raise DiskTrouble(error) from error

    def _digest(self, chunks: Sequence[bytes]) -> None:
        for hasher in self._hashers.values():
            for chunk in chunks:
                hasher.update(chunk)

    def _forget_written(self) -> None:
        """Keep no more in memory than readers at the front need."""
        most = min(_RECENT_BYTES, self._memory_bytes() // _RECENT_PART)
        while self._recent_bytes > most:
            start, chunk = self._recent[0]
            if start + len(chunk) > self._written.done:
                return
            self._recent.popleft()
            self._recent_bytes -= len(chunk)

    def _checked(self) -> str:
        """The sha256 of what has come, which is what its index says it is."""
        for name, expected in list(self.origin.hashes.items())[:1]:
            if self._hashers[name].hexdigest() != expected:
                raise _Wrong(f"{self.what} does not have the {name} digest its index gives.")
        return self._hashers["sha256"].hexdigest()

    def _readable(self) -> int:
        """Up to where readers may have it."""
        if self.complete:
            return self.received
        end = self.received if self.total is None else self.total
        if self.received < HELD_BACK_BYTES:
            return 0  # what breaks off so early is an error, not a body that was cut
        return max(0, min(self.received, end - HELD_BACK_BYTES))

    async def _chunk(self, position: int, limit: int) -> bytes:
        if self._recent and self._recent[0][0] <= position:
            for start, chunk in reversed(self._recent):
                if start <= position:
                    return chunk[position - start : limit - start]
        length = min(CHUNK_BYTES, limit - position)
        part = await self._on_disk(self._file.read, position, length)
        if not part:
            raise DiskTrouble(OSError(EIO, "it became shorter"))
        return part

    async def _on_disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._in_thread(work, *args, **kwargs)
        except OSError as error:
            raise DiskTrouble(error) from error

    def _tell(self) -> None:
        """Wake everyone who waits for something to happen."""
        self._changed.set()
        self._changed = asyncio.Event()


class _Wrong(TransferAborted):
    """What arrived cannot be what it should be: trying to go on with it would not help."""
