"""For how long a failure of an index counts, and that no longer."""

import pytest

from simple_repository_server.errors import SourceInvalid, SourceTimeout, SourceUnavailable
from simple_repository_server.sources.http_failures import RecentFailures, pause_s

SILENT = SourceTimeout("there", "it stopped answering")
BUSY = SourceUnavailable("there", "status 429", retry_after_s=30, transient=True)
REFUSED = SourceUnavailable("there", "status 401", refused=True)
NOT_ASKED = SourceUnavailable("there", "it is not asked", retry_after_s=20)


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
        (NOT_ASKED, 0, 0),
    ],
)
def test_how_long_a_failure_counts(
    error: SourceUnavailable, took_s: float, expected: float
) -> None:
    """As long as it took to show, or as the index asks for; what is found out at once does not."""
    assert pause_s(error, took_s=took_s) == expected


def test_a_failure_counts_for_its_name_until_its_time_is_over() -> None:
    """It is raised as what it was, to whoever asks."""
    now = 0.0
    failures = RecentFailures(clock=lambda: now)
    failures.note("foo", SILENT, took_s=5)
    failures.note("bar", BUSY, took_s=0)
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
