"""A limit on concurrent connections, and a bounded wait for a free one.

Pages and files have separate pools: a file is read at the pace of its client, and a hundred slow
clients must not keep everyone else from pages.
"""

import asyncio
from types import TracebackType
from typing import Self

from simple_repository_server.errors import SourceUnavailable


class Lease:
    """The right to one connection until `release`, which may be called more than once.

    A `with` block releases it at its end.
    """

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots: asyncio.Semaphore | None = slots

    def release(self) -> None:
        """Free the connection for another request."""
        if self._slots is not None:
            self._slots.release()
            self._slots = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class Pool:
    """At most `size` connections to the source `label` at a time, for `what`."""

    def __init__(self, size: int, *, wait_s: float, label: str, what: str) -> None:
        self._size = size
        self._wait_s = wait_s
        self._label = label
        self._what = what
        self._slots = asyncio.Semaphore(size)

    async def lease(self) -> Lease:
        """One connection. Raises `SourceUnavailable` if none becomes free in time."""
        if not self._slots.locked():
            await self._slots.acquire()  # does not wait: a deadline would only cost time
            return Lease(self._slots)
        try:
            async with asyncio.timeout(self._wait_s):
                await self._slots.acquire()
        except TimeoutError as error:
            reason = f"all {self._size} connections to it for {self._what} are in use"
            wait = max(1, round(self._wait_s))
            raise SourceUnavailable(self._label, reason, retry_after_s=wait) from error
        return Lease(self._slots)
