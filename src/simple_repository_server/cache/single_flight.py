"""Coalesce: one fetch in flight for any number of clients that wait for it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from simple_repository_server.errors import RepositoryError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Runs at most one coroutine per key at a time; concurrent callers share its result.

    A caller that is cancelled does not stop the work for the others. If all callers were cancelled,
    an exception other than a `RepositoryError` goes to the event loop's exception handler.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}
        self._waiting: Counter[asyncio.Task[V]] = Counter()

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The result of the work in flight for `key`, or else of this work, started now.

        Raises what the work raises.
        """
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(_as_coroutine(work))
            self._running[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        self._waiting[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]

    def is_running(self, key: K) -> bool:
        """Whether work for `key` is in flight."""
        return key in self._running

    async def cancel_all(self) -> None:
        """Cancel everything in flight and wait until it has ended."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: K, task: asyncio.Task[V]) -> None:
        self._running.pop(key, None)
        error = None if task.cancelled() else task.exception()
        if error is None or isinstance(error, RepositoryError) or task in self._waiting:
            return
        # A defect, and every caller was cancelled: it would be lost otherwise.
        failure = {
            "message": "coalesced work failed after every caller had left",
            "exception": error,
        }
        task.get_loop().call_exception_handler(failure)


async def _as_coroutine(work: Callable[[], Awaitable[V]]) -> V:
    return await work()
