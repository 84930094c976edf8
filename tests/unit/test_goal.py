"""To what size eviction brings a cache."""

import pytest

from simple_repository_server.disk.room import goal


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
def test_eviction_target(total: int, max_bytes: int, lacking: int, expected: int) -> None:
    """Nine tenths of the budget; on a full disk what frees enough, if that is not most of it."""
    assert goal(total, max_bytes=max_bytes, lacking=lacking) == expected
