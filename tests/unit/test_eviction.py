"""What is evicted: the decisions as tables."""

import pytest

from simple_repository_server.disk.eviction import Cutoff, cutoff, target_bytes, victims
from simple_repository_server.disk.usage import StoredFile, usage_by_age

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("total", "max_bytes", "lacking", "expected"),
    [
        (100, 100, 0, 100),
        (101, 100, 0, 90),
        (101, 0, 0, 0),
        (100, 1000, 30, 70),
        (100, 1000, 50, 50),
        (100, 1000, 51, 100),
        (101, 100, 50, 51),
        (101, 100, 5, 90),
        (0, 100, 10, 0),
    ],
)
def test_how_much_stays(total: int, max_bytes: int, lacking: int, expected: int) -> None:
    """Nine tenths of the budget; on a full disk less by what is lacking, unless that is most."""
    assert target_bytes(total, max_bytes=max_bytes, lacking=lacking) == expected


#: Names and ages in seconds; each has 10 bytes.
AGES = {"now": 1, "minute": 60, "also": 61, "hour": 3600, "day": 86400}
FILES = [StoredFile(name, 10, NOW - age) for name, age in AGES.items()]


@pytest.mark.parametrize(
    ("max_bytes", "unused_s", "evicted"),
    [
        (None, None, []),
        (50, None, []),
        (49, None, ["day"]),
        (40, None, ["day"]),
        (30, None, ["day", "hour"]),
        (29, None, ["also", "day", "hour"]),
        (0, None, ["also", "day", "hour", "minute"]),
        (None, 3601, ["day"]),
        (None, 0, ["also", "day", "hour", "minute"]),
        (30, 80_000, ["day", "hour"]),
        (40, 1000, ["day", "hour"]),
    ],
)
def test_who_is_evicted(max_bytes: int | None, unused_s: float | None, evicted: list[str]) -> None:
    """The least recently used beyond the size, and what is idle; never what is in use."""
    limit = cutoff(usage_by_age(FILES), max_bytes=max_bytes, unused_s=unused_s, now=NOW)
    assert sorted(file.path for file in victims(FILES, limit)) == evicted


def test_nothing_to_evict_needs_no_second_scan() -> None:
    """Within the budget the cutoff is the one that selects nothing."""
    assert cutoff(usage_by_age(FILES), max_bytes=50, now=NOW) == Cutoff()
