"""Write-behind: blocking work on a stream, done in order and in a thread, while more arrives."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

T = TypeVar("T")


class RunInThread(Protocol):
    """Runs blocking work in a thread."""

    async def __call__(self, work: Callable[[], T], /) -> T:
        """What the work returns. Raises what it raises."""


class WriteBehind:
    """Hands chunks to `work` in a thread, in batches of at least `batch_bytes`.

    `after` is called on the event loop when a batch has been processed.
    """

    def __init__(
        self,
        work: Callable[[Sequence[bytes]], None],
        in_thread: RunInThread,
        *,
        batch_bytes: int = 1,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._in_thread = in_thread
        self._batch_bytes = batch_bytes
        self._after = after
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._joining = False
        self._task: asyncio.Task[None] | None = None
        #: How many bytes were put in, and how many of them have been processed.
        self.queued = 0
        self.processed = 0

    def put(self, chunk: bytes) -> None:
        """Queue the next chunk. Raises what the work raised before."""
        self._waiting.append(chunk)
        self._waiting_bytes += len(chunk)
        self.queued += len(chunk)
        if self._waiting_bytes >= self._batch_bytes:
            self._start()

    async def join(self) -> None:
        """Wait until everything that was put in is processed. Raises what the work raised."""
        self._joining = True
        try:
            # The work cannot be interrupted, so its task must not be cancelled with the caller.
            await asyncio.shield(self._start())
        finally:
            self._joining = False

    def join_here(self, max_bytes: int) -> bool:
        """Process what is queued in this thread; False, and nothing done, if it is too much."""
        if self._waiting_bytes > max_bytes or (self._task is not None and not self._task.done()):
            return False
        self._work(self._take_batch())
        self.processed = self.queued
        return True

    async def drain(self) -> None:
        """Wait until no thread is at work, whether that succeeds or fails."""
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()

    def _start(self) -> asyncio.Task[None]:
        if self._task is None or self._task.done():
            if self._task is not None:
                self._task.result()
            self._task = asyncio.create_task(self._run())
        return self._task

    async def _run(self) -> None:
        while self._waiting and (self._joining or self._waiting_bytes >= self._batch_bytes):
            batch = self._take_batch()
            await self._in_thread(partial(self._work, batch))
            self.processed += sum(map(len, batch))
            self._after()

    def _take_batch(self) -> list[bytes]:
        batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return batch
