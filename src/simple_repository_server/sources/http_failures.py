"""Failures of an index that count for a moment: each retry of a client would take as long again.

It is about single pages and the list; whether an origin is asked at all is `upstream/breaker.py`'s.
"""

import time
from collections.abc import Callable

import msgspec

from simple_repository_server.cache.memory import ENTRY_BYTES, MemoryCache
from simple_repository_server.errors import SourceUnavailable

#: What fails sooner costs next to nothing, and is tried again at once.
_QUICK_S = 2.0
#: Longer than the pauses of an installer before its last attempt: uv takes up to 15 s.
_LONGEST_S = 20.0
#: For some dozens of them: when more fail like that, their origin is not asked any more.
_MEMORY_BYTES = 64 * 1024
_FAILURE_BYTES = 600


class _Failure(msgspec.Struct, frozen=True):
    """What went wrong, and until when that counts, by the monotonic clock."""

    error: SourceUnavailable
    until: float


class RecentFailures:
    """By name, what went wrong when it was asked for last, as long as that counts."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: MemoryCache[str, _Failure] = MemoryCache(_MEMORY_BYTES)

    def check(self, name: str) -> None:
        """Nothing, if it may be asked for; else raises the `SourceUnavailable` of the last time."""
        failure = self._failures.get(name)
        if failure is not None and self._clock() < failure.until:
            raise _copy(failure.error)

    def note(self, name: str, error: SourceUnavailable, *, took_s: float) -> None:
        """That went wrong just now, after so many seconds."""
        pause = pause_s(error, took_s=took_s)
        if pause > 0:
            weight = ENTRY_BYTES + _FAILURE_BYTES + len(name) + len(error.reason)
            self._failures.put(name, _Failure(_copy(error), self._clock() + pause), weight)

    def forget(self, name: str) -> None:
        """It may be asked for again."""
        self._failures.discard(name)


def pause_s(error: SourceUnavailable, *, took_s: float) -> float:
    """For how long an index is not asked again for what failed like that.

    As long as it says itself (`Retry-After`), or as long as the failure took to show.
    """
    if error.transient and error.retry_after_s is not None:
        return float(error.retry_after_s)
    return 0.0 if error.refused or took_s < _QUICK_S else min(took_s, _LONGEST_S)


def _copy(error: SourceUnavailable) -> SourceUnavailable:
    """The same without the frames it was raised in, which would be kept alive with it."""
    return type(error)(
        error.source,
        error.reason,
        retry_after_s=error.retry_after_s,
        transient=error.transient,
        refused=error.refused,
    )
