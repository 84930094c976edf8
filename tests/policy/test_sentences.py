"""Times, durations and sentences for users."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.policy.sentences import (
    Sentences,
    shown_after,
    shown_duration,
    shown_time,
    utc,
)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (7 * 86400, "7 days"),
        (86400, "1 day"),
        (36 * 3600, "36 hours"),
        (90 * 60, "90 minutes"),
        (90, "90 s"),
        (0.5, "0.5 s"),
        (0, "0 s"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    """They are shown in the largest unit in which they are whole."""
    assert shown_duration(seconds) == expected


@pytest.mark.parametrize(
    ("time", "down", "up"),
    [
        (datetime(2026, 11, 24, 8, 12), "2026-11-24 08:12 UTC", "2026-11-24 08:12 UTC"),
        (datetime(2026, 11, 24, 8, 12, 1), "2026-11-24 08:12 UTC", "2026-11-24 08:13 UTC"),
        (datetime(2026, 12, 31, 23, 59, 59, 1), "2026-12-31 23:59 UTC", "2027-01-01 00:00 UTC"),
        (datetime(1969, 12, 31, 23, 59, 59), "1969-12-31 23:59 UTC", "1970-01-01 00:00 UTC"),
        (datetime(1, 1, 1), "0001-01-01 00:00 UTC", "0001-01-01 00:00 UTC"),
    ],
)
def test_times(time: datetime, down: str, up: str) -> None:
    """To the minute: rounded down for what was, up for what will be."""
    seconds = time.replace(tzinfo=UTC).timestamp()
    assert (shown_time(seconds), shown_after(seconds)) == (down, up)


@pytest.mark.parametrize("seconds", [1e300, -1e300, 253402300800, -62135596801])
def test_times_out_of_range(seconds: float) -> None:
    """No time is too far away to be shown."""
    assert utc(seconds) is None
    assert "year" in shown_time(seconds)


@given(label=st.text(), reason=st.text(), fact=st.text(max_size=400))
def test_sentences_are_short_and_printable(label: str, reason: str, fact: str) -> None:
    """Whatever they are made of, they are one line of at most 200 printable characters."""
    sentence = Sentences(label, reason).about(fact)
    assert sentence.startswith("hidden by the rule")
    assert sentence.isprintable()
    assert len(sentence) <= 200
