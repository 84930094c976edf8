"""One transfer of a file into the cache, and any number of readers of what has arrived.

    origin ──chunks──▶ Download ──batches, in threads──▶ digest, file
                          │
                          └──▶ readers: from memory at the front, from the file behind it

Readers get all but the end (`HELD_BACK_BYTES`) at once, and the end when size and digest are right.
Bytes reach readers first, the digest next and the file last: the disk is on nobody's path.
"""

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from errno import EIO
from functools import partial
from typing import Any, TypeVar

from simple_repository_server.cache.file_ref import FileRef
from simple_repository_server.cache.front import Front, TransferMemory
from simple_repository_server.cache.pace import Pace, TransferLimits
from simple_repository_server.cache.write_behind import RunInThread, WriteBehind
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.errors import SourceInvalid, SourceUnavailable, TransferAborted
from simple_repository_server.observe.events import Emit, TransferResumed, ignore
from simple_repository_server.resource import CHUNK_BYTES, HELD_BACK_BYTES, RawBody

T = TypeVar("T")

#: Of the memory of one transfer, the part for bytes that are on disk already.
_RECENT_PART = 4
#: Smaller batches cost more hand-overs to a thread; larger ones have left the CPU caches by then.
_WRITE_BATCH_BYTES = 1024 * 1024
_DIGEST_BATCH_BYTES = 256 * 1024
#: Digesting so much takes less time than handing it to a thread.
_DIGEST_HERE_BYTES = 64 * 1024
#: How often in a row a transfer that was interrupted is resumed without receiving anything.
_MAX_RESUMES = 4
DEFAULT_LIMITS = TransferLimits()
DEFAULT_MEMORY = TransferMemory()


class DiskTrouble(Exception):
    """The disk refuses the file or does not return it: its readers have to do without."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Download:
    """A transfer of the file `ref`, run as a task of its own: no reader owns it.

    It goes into `file`, or stays in memory if that is None. `in_thread` runs blocking work.
    `memory_bytes` returns how much may be in memory; `on_release` is called after the last reader.
    """

    def __init__(
        self,
        ref: FileRef,
        file: PartialFile | None,
        *,
        in_thread: RunInThread,
        memory: TransferMemory = DEFAULT_MEMORY,
        memory_bytes: Callable[[], int] | None = None,
        limits: TransferLimits = DEFAULT_LIMITS,
        on_release: Callable[["Download"], None] = lambda _: None,
        emit: Emit = ignore,
    ) -> None:
        self.origin = ref.origin
        self.what = ref.filename
        self.received = 0
        #: The size of the complete file; None until the page or the origin states it.
        self.total = ref.origin.size
        #: The origin's name for this version of the bytes, once it has answered.
        self.version = ref.origin.version
        self.begun = False
        #: All bytes are here, and verified.
        self.complete = False
        self.error: Exception | None = None
        self.file = file
        self._in_thread = in_thread
        self._memory = memory
        self._memory_bytes = memory_bytes or (lambda: memory.total_bytes)
        self._limits = limits
        self._pace = Pace(limits, time.monotonic())
        self._ended_at: float | None = None
        self._on_release = on_release
        self._emit = emit
        self._front = Front()
        names = {"sha256", *list(self.origin.hashes)[:1]}
        self._hashers = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        self._digester = WriteBehind(self._digest, in_thread, batch_bytes=_DIGEST_BATCH_BYTES)
        self._writer = None if file is None else self._writer_to(file)
        self._waiters: list[asyncio.Future[None]] = []
        self._holders = 0
        self._closing: asyncio.Future[Any] | None = None

    def _writer_to(self, file: PartialFile) -> WriteBehind:
        # Whether a file of unknown size exceeds the budget should be known early.
        batch_bytes = 1 if self.total is None else min(_WRITE_BATCH_BYTES, self._max_pending())
        return WriteBehind(
            partial(_append, file), self._in_thread, batch_bytes=batch_bytes, after=self._trim_front
        )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the file open: it is closed when the last holder leaves."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders and self._ended_at is not None:
                self._on_release(self)
            if not self._holders and self.file is not None:
                self._closing = asyncio.ensure_future(self._in_thread(self.file.close))

    async def closed(self) -> None:
        """Wait until the file is closed, unless it is still held."""
        if self._closing is not None:
            await asyncio.wait([self._closing])

    async def run(self) -> str:
        """Fetch and verify all of it; its sha256, once all of it is in the file, if it has one.

        Raises `TransferAborted`, what opening the origin raises, or `DiskTrouble`.
        """
        try:
            await self._fetch_in_time()
            if not self._digester.join_here(_DIGEST_HERE_BYTES):
                await self._digester.join()
            sha256 = self._verified_sha256()
            self.complete = True
            self._notify()
            if self._writer is not None:
                await self._writer.join()
        except Exception as error:
            self.error = error
            raise
        finally:
            await self._digester.drain()
            if self._writer is not None:
                await self._writer.drain()
            if self.error is None and not self.complete:
                self.error = TransferAborted(f"The server stopped while it fetched {self.what}.")
            self._ended_at = time.monotonic()
            self._notify()
        return sha256

    @property
    def content(self) -> list[bytes]:
        """All bytes of a complete transfer without a file."""
        return self._front.chunks

    async def has_begun(self) -> bool:
        """Wait until the origin has answered; False if the disk refused the file.

        Raises what `run` raises, if the answer was no file.
        """
        while not self.begun:
            if isinstance(self.error, DiskTrouble):
                return False
            if self.error is not None:
                raise self.error
            await self._progress()
        return True

    async def read(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop` (None: the end), as they arrive.

        Raises what `run` raises (`TransferAborted`, once some were read), and `DiskTrouble` if they
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
                await self._progress()

    def _check_reader(self) -> None:
        """A reader may take as long again as the transfer may, so that the file gets closed."""
        if self._ended_at is None:
            return
        if time.monotonic() - self._ended_at > self._limits.seconds_for(self.origin.size):
            raise TransferAborted(f"The client took too long to read {self.what}.")

    async def _fetch_in_time(self) -> None:
        seconds = self._limits.seconds_for(self.origin.size)
        try:
            async with asyncio.timeout(seconds) as deadline:
                await self._fetch()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise _Defective(f"{self.what} was not complete within {seconds:.0f} s.") from error

    async def _fetch(self) -> None:
        """Receive all of it, resuming where the transfer was interrupted while that helps."""
        failures = 0
        while True:
            before = self.received
            try:
                async with self.origin.open_raw(before, version=self.version) as body:
                    return await self._receive(body)
            except (TransferAborted, SourceUnavailable) as error:
                failures = 1 if self.received > before else failures + 1
                if failures > _MAX_RESUMES or not self._can_resume(error):
                    raise
                self._check_pace()
                reason = str(error)
            self._emit(TransferResumed(file=self.what, at=self.received, reason=reason))
            jitter = random.uniform(0.5, 1)  # noqa: S311  # not for security
            await asyncio.sleep(self._limits.backoff_s * 2**failures * jitter)

    def _check_pace(self) -> None:
        if self._pace.is_too_slow(self.received, time.monotonic()):
            least, window = self._limits.least_bytes, self._limits.window_s
            raise _Defective(f"{self.what} came too slowly: under {least} bytes in {window:.0f} s.")

    def _can_resume(self, error: Exception) -> bool:
        """Whether it is worth resuming, and certain that the rest is of the same file."""
        if not self.received or isinstance(error, SourceInvalid | _Defective):
            return False
        return bool(self.origin.hashes) or self.version is not None

    def _is_other_version(self, body: RawBody) -> bool:
        """Whether it may be of another file than what was received; an `If-Range` part is not."""
        if self.origin.hashes or (body.start and body.version is None):
            return False
        return body.version != self.version

    async def _receive(self, body: RawBody) -> None:
        if body.total is not None:
            if self.total is not None and self.total != body.total:
                raise _Defective(f"The size of {self.what} at its origin has changed.")
            if self.total is None and self.file is not None:
                await self._on_disk(partial(self.file.expect, body.total))
            self.total = body.total
        if self.received and self._is_other_version(body):
            raise _Defective(f"{self.what} changed at its origin while it was fetched.")
        self.version = body.version or self.version
        self.begun = True
        self._notify()
        skip = self.received - body.start
        async for chunk in body.chunks:
            new = chunk[skip:] if skip else chunk
            skip = max(0, skip - len(chunk))
            if new:
                await self._take(new)
        if self.total is not None and self.received < self.total:
            raise TransferAborted(f"{self.what} ended after {self.received} of {self.total} bytes.")

    async def _take(self, chunk: bytes) -> None:
        if self.total is not None and self.received + len(chunk) > self.total:
            raise _Defective(f"{self.what} is longer than the {self.total} bytes it should have.")
        self._front.append(chunk)
        self.received += len(chunk)
        self._check_pace()
        self._notify()
        self._digester.put(chunk)
        max_pending = self._max_pending()
        if self._digester.queued - self._digester.processed > max_pending:
            await self._digester.join()
        if self._writer is not None:
            self._writer.put(chunk)
            if self._writer.queued - self._writer.processed > max_pending:
                await self._writer.join()

    def _max_pending(self) -> int:
        memory_bytes = self._memory_bytes()
        return min(self._memory.pending_bytes, memory_bytes - memory_bytes // _RECENT_PART)

    def _digest(self, chunks: Sequence[bytes]) -> None:
        for hasher in self._hashers.values():
            for chunk in chunks:
                hasher.update(chunk)

    def _trim_front(self) -> None:
        """Drop what is written, but for what readers at the front need."""
        if self._writer is not None:
            recent_bytes = min(self._memory.recent_bytes, self._memory_bytes() // _RECENT_PART)
            self._front.trim(recent_bytes, written=self._writer.processed)

    def _verified_sha256(self) -> str:
        for name, expected in list(self.origin.hashes.items())[:1]:
            if self._hashers[name].hexdigest() != expected:
                raise _Defective(f"{self.what} does not have the {name} digest its index states.")
        return self._hashers["sha256"].hexdigest()

    def _readable(self) -> int:
        """The position up to which readers may read."""
        if self.complete:
            return self.received
        end = self.received if self.total is None else self.total
        if self.received < HELD_BACK_BYTES:
            return 0  # a failure so early is answered by an error, not by a truncated body
        return max(0, min(self.received, end - HELD_BACK_BYTES))

    async def _chunk(self, position: int, limit: int) -> bytes:
        chunk = self._front.read(position, limit)
        if chunk is None and self.file is not None:
            length = min(CHUNK_BYTES, limit - position)
            chunk = await self._on_disk(partial(self.file.read, position, length))
        if not chunk:
            raise DiskTrouble(OSError(EIO, "the file was truncated"))
        return chunk

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await self._in_thread(work)
        except OSError as error:
            raise DiskTrouble(error) from error

    async def _progress(self) -> None:
        """Wait for the next notification."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class _Defective(TransferAborted):
    """What arrived cannot be the file: resuming would not help."""


def _append(file: PartialFile, chunks: Sequence[bytes]) -> None:
    try:
        file.append(chunks)
    except OSError as error:
        raise DiskTrouble(error) from error
