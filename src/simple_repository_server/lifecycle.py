"""One lifecycle for whatever is opened and closed, however many parts share it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self


class SharedLifespan:
    """An asynchronous context manager that may be entered any number of times, at once or in turn.

    Subclasses override `lifespan`. It is entered when nobody was in, and left when the last one
    leaves; after that the object may be entered again, in another event loop if need be.
    """

    _entered = 0
    _turn: asyncio.Lock | None = None
    _open: AbstractAsyncContextManager[None] | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open what is needed, yield, close it again; whoever overrides this enters `super()`'s."""
        yield

    async def __aenter__(self) -> Self:
        if self._turn is None or not (self._entered or self._turn.locked()):
            self._turn = asyncio.Lock()  # of this event loop
        async with self._turn:
            if not self._entered:
                lifespan = self.lifespan()
                await lifespan.__aenter__()
                self._open = lifespan
            self._entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._turn is None or self._open is None:
            raise RuntimeError("left before it was entered")
        async with self._turn:
            self._entered -= 1
            if not self._entered:
                lifespan, self._open = self._open, None
                await lifespan.__aexit__(None, None, None)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` as a task meanwhile; afterwards it is cancelled and waited for."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
