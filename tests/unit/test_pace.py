"""Whether a transfer gets on."""

import pytest

from simple_repository_server.cache.pace import Pace, TransferLimits

LIMITS = TransferLimits(window_s=10.0, least_bytes=100)


@pytest.mark.parametrize(
    ("arrivals", "slow_at"),
    [
        ([(5, 0), (9.9, 10)], None),
        ([(10, 99)], 10),
        ([(10, 100), (20, 200)], None),
        ([(1, 1_000_000), (10, 1_000_000), (15, 1_000_001), (21, 1_000_002)], 21),
        ([(12, 150), (21, 160), (22, 170)], 22),
        ([(1000, 0)], 1000),
    ],
)
def test_too_little_within_a_window_is_too_slow(
    arrivals: list[tuple[float, int]], slow_at: float | None
) -> None:
    """A fast beginning does not make up for a trickle, and nobody is judged too early."""
    pace = Pace(LIMITS, now=0.0)
    slow = [now for now, received in arrivals if pace.is_too_slow(received, now)]
    assert slow == ([] if slow_at is None else [slow_at])


def test_a_large_file_may_take_longer() -> None:
    """The deadline grows with the size: what is slow, but gets on, arrives."""
    limits = TransferLimits()
    assert limits.seconds_for(None) == limits.total_s
    assert 3_000_000_000 / limits.seconds_for(3_000_000_000) < 700_000
