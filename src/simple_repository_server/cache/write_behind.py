"""Blocking work on a stream, done in order and in a thread, a little behind it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class RunInThread(Protocol):
    """Runs blocking work in a thread, as `CacheFolder.run` does."""

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the work returns. Raises what it raises."""
        raise NotImplementedError


class WriteBehind:
    """Gives chunks to `work`, as many at a time as have come while it did the ones before.

    `then` is called each time that some are done.
    """

    def __init__(
        self,
        work: Callable[[Sequence[bytes]], None],
        in_thread: RunInThread,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._in_thread = in_thread
        self._then = then
        self._waiting: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        #: How many bytes were given, and how many of them are done with.
        self.given = self.done = 0

    def give(self, chunk: bytes) -> None:
        """The next chunk. Raises what the work raised before."""
        self._waiting.append(chunk)
        self.given += len(chunk)
        if self._task is None or self._task.done():
            if self._task is not None:
                self._task.result()
            self._task = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """Wait until all is done. Raises what the work raised."""
        if self._task is not None:
            # The thread cannot be stopped, so neither is who waits for it left without its result.
            await asyncio.shield(self._task)

    async def settle(self) -> None:
        """Wait until nothing is at work, however it ended."""
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._in_thread(self._work, batch)
            self.done += sum(map(len, batch))
            self._then()
