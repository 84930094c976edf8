"""Retries of requests to an upstream: which errors, after how long, how often."""

import pytest

from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.upstream.limits import Limits
from simple_repository_server.upstream.retry import retry_delay_s, with_retries

LIMITS = Limits(attempts=5, backoff_s=0.2, page_s=60)


def _transient(retry_after_s: int | None = None) -> SourceUnavailable:
    return SourceUnavailable("x", "down", transient=True, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("error", "attempt", "elapsed_s", "delay"),
    [
        (_transient(), 1, 0, 0.3),
        (_transient(), 2, 0, 0.5),
        (_transient(), 4, 0, 1.7),
        (_transient(), 5, 0, None),
        (_transient(), 1, 59.8, None),
        (_transient(7), 1, 0, 7),
        (_transient(7), 1, 55, None),
        (_transient(11), 1, 0, None),
        (SourceUnavailable("x", "refused", refused=True), 1, 0, None),
    ],
)
def test_delay_before_the_next_attempt(
    error: SourceUnavailable, attempt: int, elapsed_s: float, delay: float | None
) -> None:
    """Transient errors are retried after a doubling backoff or `Retry-After`, within the limits."""
    found = retry_delay_s(error, attempt, LIMITS, elapsed_s=elapsed_s, chance=0.5)
    assert found == pytest.approx(delay)


def test_backoff_is_bounded() -> None:
    """However many attempts there may be, a backoff is at most ten times the first."""
    limits = Limits(attempts=1_000, backoff_s=0.2)
    assert retry_delay_s(_transient(), 999, limits, elapsed_s=0, chance=0.9) == pytest.approx(2)


@pytest.mark.anyio
async def test_the_last_error_is_raised() -> None:
    """After the last attempt its error is raised, and no further attempt is made."""
    errors = [_transient() for _ in range(4)]
    remaining = iter(errors)

    async def fail() -> None:
        raise next(remaining)

    with pytest.raises(SourceUnavailable) as caught:
        await with_retries(fail, Limits(attempts=3, backoff_s=0.001))
    assert caught.value is errors[2]
