"""One fetch for any number of waiting clients."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Runs at most one coroutine per key at a time; everyone who asks meanwhile gets its result.

    The work belongs to nobody in particular: a client that leaves does not stop it for the others.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The result of the work under way for `key`, or else of this work, started now.

        Raises what the work raises.
        """
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(_as_coroutine(work))
            self._running[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def is_running(self, key: K) -> bool:
        """Whether there is work under way for `key`."""
        return key in self._running

    async def cancel_all(self) -> None:
        """Stop everything under way and wait until it has stopped."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: K, task: asyncio.Task[V]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, even if every waiting client has left


async def _as_coroutine(work: Callable[[], Awaitable[V]]) -> V:
    return await work()
