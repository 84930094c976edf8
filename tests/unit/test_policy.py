"""May what an index said be used again? The decisions, case by case."""

from typing import Any

import pytest

from simple_repository_server.cache.policy import (
    CacheEntry,
    CachePolicy,
    contradicts,
    counts_for,
    is_usable,
    may_revalidate_later,
    may_serve_stale,
)
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.model import Freshness, ProjectPage
from simple_repository_server.names import ProjectName

NOW = 1_000_000.0
DAY = 24 * 3600.0
RULES = CachePolicy()


def _entry(
    age: float, *, missing: bool = False, failed: float | None = None, grace: float = 0.0
) -> CacheEntry[ProjectPage]:
    """What was said `age` seconds ago and is fresh for 300; its index `failed` so long ago."""
    freshness = Freshness(validated_at=NOW - age, lifetime_s=300)
    page = None if missing else ProjectPage(name=ProjectName("foo"), files=())
    return CacheEntry(
        snapshot=page,
        freshness=freshness,
        head=PageHead(validated_at=NOW - age, lifetime_s=300, stale_while_revalidate_s=grace),
        failed_at=None if failed is None else NOW - failed,
    )


@pytest.mark.parametrize(
    ("entry", "options", "expected"),
    [
        (_entry(0), {}, True),
        (_entry(299), {}, True),
        (_entry(300), {}, False),
        (_entry(-1), {}, False),  # the clock was set back
        (_entry(-DAY), {}, False),
        (_entry(59, missing=True), {}, True),
        (_entry(60, missing=True), {}, False),
        (_entry(-1, missing=True), {}, False),
        (_entry(0.5), {"revalidate": True}, True),
        (_entry(1), {"revalidate": True}, False),
        (_entry(1, missing=True), {"revalidate": True}, False),
        (_entry(299), {"refused": True}, True),  # fresh is not stale
        # Stale, and its index failed just now.
        (_entry(900, failed=4), {}, True),
        (_entry(900, failed=5), {}, False),
        (_entry(900, failed=-1), {}, False),
        (_entry(900, failed=-DAY), {}, False),
        (_entry(900, failed=4), {"refused": True}, False),
        (_entry(900, failed=0.5), {"revalidate": True}, True),
        (_entry(900, failed=1), {"revalidate": True}, False),
    ],
)
def test_what_is_served_as_it_is(
    entry: CacheEntry[ProjectPage], options: dict[str, Any], *, expected: bool
) -> None:
    """Fresh, or stale for the few seconds in which a failed index is not asked again."""
    assert is_usable(entry, RULES, now=NOW, **options) is expected


@pytest.mark.parametrize("age", [0, 300, 365 * DAY, -DAY])
def test_offline_age_does_not_matter(age: float) -> None:
    """What was said last counts, be it that there is nothing; unless we were refused since."""
    offline = CachePolicy(offline=True)
    for entry in (_entry(age), _entry(age, missing=True)):
        assert is_usable(entry, offline, now=NOW)
        assert not is_usable(entry, offline, now=NOW, refused=True)


@pytest.mark.parametrize(
    ("entry", "options", "expected"),
    [
        (_entry(300, grace=60), {}, True),
        (_entry(359, grace=60), {}, True),
        (_entry(360, grace=60), {}, False),
        (_entry(300), {}, False),
        (_entry(300), {"stale_while_revalidate_s": 60}, True),
        (_entry(-1, grace=60), {}, False),
        (_entry(300, grace=60), {"revalidate": True}, False),
        (_entry(300, grace=60), {"refused": True}, False),
        (_entry(300, grace=60, failed=9), {}, False),
        (_entry(61, missing=True, grace=60), {}, False),
    ],
)
def test_what_is_served_while_it_is_revalidated(
    entry: CacheEntry[ProjectPage], options: dict[str, Any], *, expected: bool
) -> None:
    """A page a little beyond its lifetime; never "not there", and nothing after a refusal."""
    options = {"stale_while_revalidate_s": 0.0, "revalidate": False, "refused": False, **options}
    assert may_revalidate_later(entry, now=NOW, **options) is expected


@pytest.mark.parametrize(
    ("entry", "refused", "expected"),
    [
        (_entry(900), False, True),
        (_entry(7 * DAY - 1), False, True),
        (_entry(7 * DAY), False, False),
        (_entry(-3600), False, True),
        (_entry(-2 * DAY), False, False),  # so old that nobody knows how old
        (_entry(900, missing=True), False, False),
        (_entry(900), True, False),
    ],
)
def test_what_is_served_in_an_outage(
    entry: CacheEntry[ProjectPage], *, refused: bool, expected: bool
) -> None:
    """A page of known age; never "not there", which would make a name another index's."""
    assert may_serve_stale(entry, RULES, now=NOW, refused=refused) is expected


@pytest.mark.parametrize(("most_s", "expected"), [(0, False), (60, False), (3601, True)])
def test_a_page_from_the_future_is_as_old_as_it_seems_young(
    most_s: float, *, expected: bool
) -> None:
    """After a clock was set back, too, nothing is served for longer than the operator allows."""
    policy = CachePolicy(stale_if_error_s=most_s)
    assert may_serve_stale(_entry(-3600), policy, now=NOW, refused=False) is expected


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (_entry(400), {"validated_at": NOW - 10, "lifetime_s": 300}, True),
        (_entry(400), {"validated_at": NOW - 310, "lifetime_s": 300}, False),
        (_entry(400), {"validated_at": NOW - 400, "lifetime_s": 900}, False),
        (_entry(400), {"validated_at": NOW - 500, "lifetime_s": 900}, False),
        (_entry(400), {"validated_at": NOW + 10, "lifetime_s": 300}, False),
        (_entry(-DAY), {"validated_at": NOW - 10, "lifetime_s": 300}, True),
        (_entry(400), {"validated_at": NOW - 59, "marker": "missing"}, True),
        (_entry(400), {"validated_at": NOW - 60, "marker": "missing"}, False),
        (_entry(400), {"validated_at": NOW - 10, "marker": "refused"}, False),
        (_entry(400), {"validated_at": NOW - 10, "lifetime_s": 300, "expired": True}, False),
    ],
)
def test_what_another_process_was_told(
    mine: CacheEntry[ProjectPage], theirs: dict[str, Any], *, expected: bool
) -> None:
    """It counts if it is newer and fresh; who wants it confirmed is not content with old news."""
    head = PageHead(**theirs)
    assert counts_for(head, mine, RULES, now=NOW, revalidate=False) is expected
    assert not counts_for(head, mine, RULES, now=NOW, revalidate=True)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (PageHead(validated_at=NOW, marker="missing"), True),
        (PageHead(validated_at=NOW, marker="refused"), True),
        (PageHead(validated_at=NOW - 901, marker="refused"), False),
        (PageHead(validated_at=NOW), False),
    ],
)
def test_what_makes_a_stale_page_wrong(head: PageHead, *, expected: bool) -> None:
    """That its index took it away since, or does not show it to us any more."""
    assert contradicts(head, _entry(900)) is expected
