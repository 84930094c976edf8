"""Whether a failed request is sent again, and after how long: a pure function and a loop."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.upstream.limits import Limits

T = TypeVar("T")

#: A longer `Retry-After` is passed on to the client instead.
_MAX_RETRY_AFTER_S = 10
#: The backoff grows to so many times the first one.
_MAX_BACKOFFS = 10


def retry_delay_s(
    error: SourceUnavailable, attempt: int, limits: Limits, *, elapsed_s: float, chance: float
) -> float | None:
    """The seconds to wait after that attempt (the first one is 1); None: do not retry.

    Only transient errors are retried. The delay is what the upstream asks for (`Retry-After`), or
    exponential backoff with jitter; `chance` is from [0, 1).
    """
    if not error.transient or attempt >= limits.attempts:
        return None
    if error.retry_after_s is not None:
        delay = float(error.retry_after_s)
        if delay > _MAX_RETRY_AFTER_S:
            return None
    else:
        backoff = limits.backoff_s * (2 ** (attempt - 1) + chance)
        delay = min(backoff, _MAX_BACKOFFS * limits.backoff_s)
    return delay if elapsed_s + delay < limits.page_s else None


async def with_retries(work: Callable[[], Awaitable[T]], limits: Limits) -> T:
    """The result of `work`, which is run again while `retry_delay_s` allows it.

    Raises the `SourceUnavailable` of the last attempt.
    """
    started = time.monotonic()
    attempt = 0
    while True:
        attempt += 1
        try:
            return await work()
        except SourceUnavailable as error:
            delay = retry_delay_s(
                error,
                attempt,
                limits,
                elapsed_s=time.monotonic() - started,
                chance=random.random(),  # noqa: S311 - jitter needs no secrecy
            )
            if delay is None:
                raise
        await asyncio.sleep(delay)
