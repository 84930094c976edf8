"""Failures remembered for a moment, by document: each retry of a client would take as long again.

This is about single pages and the list; whether an origin is requested at all is decided by
`upstream/breaker.py`.
"""

import time
from collections.abc import Callable

import msgspec

from simple_repository_server.cache.memory import ENTRY_BYTES, MemoryCache
from simple_repository_server.cache.policy import retry_pause_s
from simple_repository_server.errors import SourceUnavailable

#: For some dozens of failures: when more documents fail like that, the circuit breaker opens.
_BUDGET_BYTES = 64 * 1024
_FAILURE_BYTES = 600


class _Failure(msgspec.Struct, frozen=True):
    """An error, and until when it is raised again, by the monotonic clock."""

    error: SourceUnavailable
    until: float


class RecentFailures:
    """The last error of each document, until the pause after it is over."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: MemoryCache[str, _Failure] = MemoryCache(_BUDGET_BYTES)

    def check(self, name: str) -> None:
        """Raises the last `SourceUnavailable` of that name while its pause lasts."""
        failure = self._failures.get(name)
        if failure is not None and self._clock() < failure.until:
            raise _without_frames(failure.error)

    def record(self, name: str, error: SourceUnavailable, *, took_s: float) -> None:
        """Remember a failure of just now, which took `took_s` seconds to show."""
        pause = retry_pause_s(error, took_s=took_s)
        if pause > 0:
            failure = _Failure(_without_frames(error), self._clock() + pause)
            weight = ENTRY_BYTES + _FAILURE_BYTES + len(name) + len(error.reason)
            self._failures.put(name, failure, weight)

    def forget(self, name: str) -> None:
        """Allow the next request for that name."""
        self._failures.discard(name)


def _without_frames(error: SourceUnavailable) -> SourceUnavailable:
    """A copy without the traceback, which would hold all its frames in memory."""
    return type(error)(
        error.source,
        error.reason,
        retry_after_s=error.retry_after_s,
        transient=error.transient,
        refused=error.refused,
    )
