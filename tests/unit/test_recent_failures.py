"""For how long a failure of an index is remembered."""

import pytest

from simple_repository_server.cache.policy import retry_pause_s
from simple_repository_server.cache.recent_failures import RecentFailures
from simple_repository_server.errors import SourceInvalid, SourceTimeout, SourceUnavailable

SILENT = SourceTimeout("there", "it stopped answering")
BUSY = SourceUnavailable("there", "status 429", retry_after_s=30, transient=True)
REFUSED = SourceUnavailable("there", "status 401", refused=True)
NOT_REQUESTED = SourceUnavailable("there", "its circuit is open", retry_after_s=20)


@pytest.mark.parametrize(
    ("error", "took_s", "expected"),
    [
        (SILENT, 30, 20),
        (SILENT, 5, 5),
        (SILENT, 1.9, 0),
        (BUSY, 0, 30),
        (BUSY, 60, 30),
        (SourceUnavailable("there", "status 503", transient=True), 0.1, 0),
        (SourceUnavailable("there", "status 503", retry_after_s=0, transient=True), 5, 0),
        (SourceInvalid("there", "more than 10 redirects"), 3, 3),
        (REFUSED, 30, 0),
        (NOT_REQUESTED, 0, 0),
    ],
)
def test_pause_before_retry(error: SourceUnavailable, took_s: float, expected: float) -> None:
    """It is as long as the failure took, or as `Retry-After` states; 0 for a quick failure."""
    assert retry_pause_s(error, took_s=took_s) == expected


def test_failure_is_raised_again_for_its_name_until_the_pause_is_over() -> None:
    """It keeps its class and its text, and concerns no other name."""
    now = 0.0
    failures = RecentFailures(clock=lambda: now)
    failures.record("foo", SILENT, took_s=5)
    failures.record("bar", BUSY, took_s=0)
    failures.check("baz")
    for _ in range(2):
        with pytest.raises(SourceTimeout, match="there .* it stopped answering"):
            failures.check("foo")
    now = 5.0
    failures.check("foo")
    with pytest.raises(SourceUnavailable, match="429"):
        failures.check("bar")
    failures.forget("bar")
    failures.check("bar")
