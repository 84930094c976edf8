"""When the header `Date` is made again: once the second it tells is over, however timers fire."""

import pytest

from simple_repository_server.cli.uvicorn_server import next_date_s


@pytest.mark.parametrize(
    ("made_at", "now", "expected"),
    [
        (100.25, 100.25, 0.75),
        (100.0, 100.0, 1.0),
        (100.75, 101.0, 0.0),
        (100.75, 101.25, -0.25),
        (100.75, 40.0, 1.0),
    ],
    ids=["in a second", "at its begin", "made just before its end", "late", "clock set back"],
)
def test_the_date_is_made_again_when_its_second_is_over(
    made_at: float, now: float, expected: float
) -> None:
    """The time until then counts from when it was made, and is never more than a second."""
    assert next_date_s(made_at, now) == expected
