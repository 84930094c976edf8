"""One lifecycle for what is opened and closed, however many components share it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self


class SharedLifespan:
    """An asynchronous context manager that may be entered any number of times, at once or in turn.

    Subclasses override `lifespan`, which runs from the first enter to the last exit. After that
    the object may be entered again, also in another event loop. If it fails to open, that enter
    raises, and the next one (or one that waited) tries again.
    """

    _entered = 0
    _open: AbstractAsyncContextManager[None] | None = None
    #: Set once the lifespan is open or closed; None unless it is being opened or closed.
    _changing: asyncio.Event | None = None
    #: The loop in which it was last opened.
    _loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open what is needed, yield, close it. An override enters `super().lifespan()`."""
        yield

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        while self._changing is not None and self._loop is loop:
            await self._changing.wait()
        if self._open is None:
            self._loop = loop
            lifespan = self.lifespan()
            with self._change():
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
        if self._open is None or not self._entered:
            raise RuntimeError(f"{type(self).__name__} was exited more often than entered")
        # Nothing is awaited before it is decided who closes: an exit may be cancelled.
        self._entered -= 1
        if not self._entered:
            lifespan, self._open = self._open, None
            with self._change():
                await lifespan.__aexit__(None, None, None)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Make other callers wait until the change is complete."""
        changing = self._changing = asyncio.Event()
        try:
            yield
        finally:
            self._changing = None
            changing.set()


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` as a task inside the block; afterwards cancel it and wait for it.

    A task that fails is reported at once, through the exception handler of the event loop.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(_report_failure)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def _report_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        what = f"A background task failed: {task.get_coro()!r}"
        context = {"message": what, "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)
