"""What a cache does with an entry: tables to be read beside RFC 9111 and RFC 5861.

`§` alone is of RFC 9111. An entry here was validated some seconds ago, and is fresh for 300 s.
"""

from typing import Any

import pytest

from simple_repository_server.cache.policy import (
    CacheEntry,
    CachePolicy,
    ErrorVerdict,
    Verdict,
    after_error,
    contradicts,
    decide,
    replaces,
)
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.errors import SourceInvalid, SourceTimeout, SourceUnavailable
from simple_repository_server.model import ProjectPage
from simple_repository_server.names import ProjectName

NOW = 1_000_000.0
DAY = 24 * 3600.0
POLICY = CachePolicy()
OFFLINE = CachePolicy(offline=True)
#: As for the list of all projects: it is served stale for an hour at least.
PATIENT = CachePolicy(min_stale_while_revalidate_s=3600)
DOWN = SourceTimeout("there", "it stopped answering")
BROKEN = SourceInvalid("there", "a page of more than 10 bytes")
REFUSES = SourceUnavailable("there", "status 401", refused=True)

FRESH, ABSENT = Verdict.FRESH, Verdict.ABSENT
SERVE_AND_REVALIDATE, SERVE_STALE = Verdict.SERVE_AND_REVALIDATE, Verdict.SERVE_STALE
REVALIDATE, FETCH = Verdict.REVALIDATE, Verdict.FETCH
OFFLINE_HIT, OFFLINE_MISS = Verdict.OFFLINE_HIT, Verdict.OFFLINE_MISS

Entry = CacheEntry[ProjectPage]


def page(age: float, *, failed: float | None = None, swr: float = 0.0, **head: Any) -> Entry:
    """A page; its index failed so long ago, and allows so much stale-while-revalidate."""
    return CacheEntry(
        snapshot=ProjectPage(name=ProjectName("foo"), files=()),
        head=PageHead(
            validated_at=NOW - age, **{"lifetime_s": 300, "stale_while_revalidate_s": swr, **head}
        ),
        failed_at=None if failed is None else NOW - failed,
    )


def negative(age: float) -> Entry:
    """A negative entry."""
    return CacheEntry(snapshot=None, head=PageHead(validated_at=NOW - age, marker="missing"))


NO_CACHE = {"revalidate": True}
REFUSED = {"refused": True}


@pytest.mark.parametrize(
    ("section", "entry", "request_", "verdict", "reason"),
    [
        # A response is fresh while its age is less than its lifetime.
        ("§4.2", page(0), {}, FRESH, "its lifetime is not over"),
        ("§4.2", page(299), {}, FRESH, "its lifetime is not over"),
        ("§4.2", page(300), {}, REVALIDATE, "its lifetime is over"),
        ("§4.2", page(DAY), {}, REVALIDATE, "its lifetime is over"),
        ("§4.2.1", page(0, lifetime_s=0), {}, REVALIDATE, "its lifetime is over"),
        # A validation in the future: the clock was set back, so the age is unknown.
        ("§4.2.3", page(-1), {}, REVALIDATE, "the clock was set back since it was validated"),
        ("§4.2.3", page(-DAY), {}, REVALIDATE, "the clock was set back since it was validated"),
        # Without a stored response the request is forwarded.
        ("§4", None, {}, FETCH, "it is not cached"),
        # A 404 may be reused as well, for the negative TTL of 60 s.
        ("§4", negative(0), {}, ABSENT, "its negative TTL is not over"),
        ("§4", negative(59), {}, ABSENT, "its negative TTL is not over"),
        ("§4", negative(60), {}, FETCH, "its negative TTL is over"),
        ("§4.2.3", negative(-1), {}, FETCH, "its negative TTL is over"),
        # no-cache in a request forbids reuse without validation; within a second of one, it holds.
        ("§5.2.1.4", page(0.5), NO_CACHE, FRESH, "its lifetime is not over"),
        ("§5.2.1.4", page(1), NO_CACHE, REVALIDATE, "the client sent no-cache"),
        ("§5.2.1.4", negative(0.5), NO_CACHE, ABSENT, "its negative TTL is not over"),
        ("§5.2.1.4", negative(1), NO_CACHE, FETCH, "the client sent no-cache"),
        ("§5.2.1.4", page(310, swr=60), NO_CACHE, REVALIDATE, "the client sent no-cache"),
        # An entry can be invalidated (`cache refresh`), fresh or not.
        ("§4.4", page(0, expired=True), {}, REVALIDATE, "it was expired by hand"),
        ("§4.4", page(310, expired=True, swr=60), {}, REVALIDATE, "it was expired by hand"),
        # stale-while-revalidate: for so long after the lifetime.
        ("5861 §3", page(300, swr=60), {}, SERVE_AND_REVALIDATE, None),
        ("5861 §3", page(359, swr=60), {}, SERVE_AND_REVALIDATE, None),
        ("5861 §3", page(360, swr=60), {}, REVALIDATE, "its lifetime is over"),
        ("5861 §3", page(-1, swr=60), {}, REVALIDATE, None),
        # stale-if-error: the index failed moments ago, and is not retried for 5 s.
        ("5861 §4", page(900, failed=0), {}, SERVE_STALE, "its index failed moments ago"),
        ("5861 §4", page(900, failed=4.9), {}, SERVE_STALE, "its index failed moments ago"),
        ("5861 §4", page(900, failed=5), {}, REVALIDATE, None),
        ("5861 §4", page(900, failed=-1), {}, REVALIDATE, None),
        ("5861 §4", page(310, failed=9, swr=60), {}, REVALIDATE, None),
        ("5861 §4", page(900, failed=0.5), NO_CACHE, SERVE_STALE, None),
        ("5861 §4", page(900, failed=1), NO_CACHE, REVALIDATE, None),
        # After a refusal nothing is served stale; fresh is not stale.
        ("§4.2.4", page(299), REFUSED, FRESH, None),
        ("§4.2.4", page(310, swr=60), REFUSED, REVALIDATE, "its index refused the last request"),
        ("§4.2.4", page(900, failed=1), REFUSED, REVALIDATE, "its index refused the last request"),
    ],
)
def test_decision(
    section: str, entry: Entry | None, request_: Any, verdict: Verdict, reason: str | None
) -> None:
    """What is done for a request, and why."""
    decision = decide(entry, POLICY, now=NOW, **request_)
    assert (section, decision.verdict) == (section, verdict)
    assert reason in (None, decision.reason)
    assert decision.is_hit == (verdict in (FRESH, ABSENT, SERVE_STALE))


@pytest.mark.parametrize(
    ("entry", "request_", "verdict"),
    [
        (page(0), {}, FRESH),
        (page(310), {}, SERVE_AND_REVALIDATE),
        (page(3899), {}, SERVE_AND_REVALIDATE),
        (page(3900), {}, REVALIDATE),
        (page(3900, swr=7200), {}, SERVE_AND_REVALIDATE),
        (page(310), NO_CACHE, REVALIDATE),
        (page(310), REFUSED, REVALIDATE),
        (negative(61), {}, FETCH),
    ],
)
def test_minimum_of_stale_while_revalidate(entry: Entry, request_: Any, verdict: Verdict) -> None:
    """RFC 5861 §3 where nobody should wait: an hour, unless the index allows more."""
    assert decide(entry, PATIENT, now=NOW, **request_).verdict is verdict


@pytest.mark.parametrize(
    "entry", [page(0), page(300), page(365 * DAY), page(-DAY), page(0, expired=True), negative(DAY)]
)
def test_offline_any_age_is_a_hit(entry: Entry) -> None:
    """§4.2.4: a disconnected cache may serve stale; not after a refusal."""
    assert decide(entry, OFFLINE, now=NOW).verdict is OFFLINE_HIT
    assert decide(entry, OFFLINE, now=NOW, revalidate=True).is_hit
    assert decide(entry, OFFLINE, now=NOW, refused=True).verdict is OFFLINE_MISS


def test_offline_miss_is_unknown_not_absent() -> None:
    """§5.2.1.7: what cannot be fetched fails (504 in the RFC); it is not reported as absent."""
    assert decide(None, OFFLINE, now=NOW).verdict is OFFLINE_MISS


@pytest.mark.parametrize(
    ("entry", "error", "facts", "verdict", "reason"),
    [
        # stale-if-error, for 7 days.
        (page(900), DOWN, {}, ErrorVerdict.SERVE_STALE, "its index failed"),
        (page(900), BROKEN, {}, ErrorVerdict.SERVE_STALE, "its index failed"),
        (page(900, failed=9), DOWN, {}, ErrorVerdict.SERVE_STALE, "its index failed"),
        (page(7 * DAY - 1), DOWN, {}, ErrorVerdict.SERVE_STALE, "its index failed"),
        (page(7 * DAY), DOWN, {}, ErrorVerdict.FAIL, "it is too old"),
        (None, DOWN, {}, ErrorVerdict.FAIL, "it is not cached"),
        (negative(61), DOWN, {}, ErrorVerdict.FAIL, "a negative entry is never served stale"),
        # The clock was set back, by hours or by days.
        (page(-3600), DOWN, {}, ErrorVerdict.SERVE_STALE, "its index failed"),
        (page(-DAY), DOWN, {}, ErrorVerdict.SERVE_STALE, "its index failed"),
        (
            page(-2 * DAY),
            DOWN,
            {},
            ErrorVerdict.FAIL,
            "its age is unknown: the clock was set back",
        ),
        # A refusal is an answer, not an error.
        (page(900), REFUSES, {}, ErrorVerdict.FORBID, "its index refuses to show it"),
        (None, REFUSES, {}, ErrorVerdict.FORBID, "its index refuses to show it"),
        (page(900), DOWN, REFUSED, ErrorVerdict.FAIL, "its index refused an earlier request"),
        # Another process learned since that it was deleted.
        (
            page(900),
            DOWN,
            {"on_disk": PageHead(validated_at=NOW - 5, marker="missing")},
            ErrorVerdict.DISCARD,
            "another process learned that it was deleted",
        ),
        (
            page(900),
            DOWN,
            {"on_disk": PageHead(validated_at=NOW - 5)},
            ErrorVerdict.SERVE_STALE,
            None,
        ),
    ],
)
def test_decision_after_an_error(
    entry: Entry | None,
    error: SourceUnavailable,
    facts: Any,
    verdict: ErrorVerdict,
    reason: str | None,
) -> None:
    """RFC 5861 §4: a stale page is better than none, if nothing forbids it."""
    decision = after_error(entry, POLICY, error, now=NOW, **facts)
    assert decision.verdict is verdict
    assert reason in (None, decision.reason)


@pytest.mark.parametrize(
    ("limit_s", "verdict"),
    [(0, ErrorVerdict.FAIL), (60, ErrorVerdict.FAIL), (3601, ErrorVerdict.SERVE_STALE)],
)
def test_page_from_the_future_counts_as_old_as_it_is_ahead(
    limit_s: float, verdict: ErrorVerdict
) -> None:
    """After a clock was set back nothing is served for longer than the operator allows."""
    policy = CachePolicy(stale_if_error_s=limit_s)
    assert after_error(page(-3600), policy, DOWN, now=NOW).verdict is verdict


@pytest.mark.parametrize(
    ("mine", "on_disk", "expected"),
    [
        (page(400), {"validated_at": NOW - 10, "lifetime_s": 300}, True),
        (page(400), {"validated_at": NOW - 100, "lifetime_s": 300}, True),
        (page(400), {"validated_at": NOW - 310, "lifetime_s": 300}, False),
        (page(0), {"validated_at": NOW - 10, "lifetime_s": 300}, False),
        (page(400), {"validated_at": NOW - 400, "lifetime_s": 900}, False),
        (page(400), {"validated_at": NOW - 500, "lifetime_s": 900}, False),
        (page(400), {"validated_at": NOW + 10, "lifetime_s": 300}, False),
        (page(-DAY), {"validated_at": NOW - 10, "lifetime_s": 300}, True),
        (page(400), {"validated_at": NOW - 59, "marker": "missing"}, True),
        (page(400), {"validated_at": NOW - 60, "marker": "missing"}, False),
        (page(400), {"validated_at": NOW - 10, "marker": "refused"}, False),
        (page(400), {"validated_at": NOW - 10, "lifetime_s": 300, "expired": True}, False),
    ],
)
def test_newer_entry_of_another_process_spares_the_request(
    mine: Entry, on_disk: dict[str, Any], *, expected: bool
) -> None:
    """It must be fresh; for `no-cache` (§5.2.1.4) validated within the last second."""
    head = PageHead(**on_disk)
    assert replaces(head, mine, POLICY, now=NOW) is expected
    assert not replaces(head, mine, POLICY, now=NOW, revalidate=True)


def test_no_cache_accepts_what_another_process_validated_just_now() -> None:
    """§5.2.1.4 asks for validation, whichever process did it."""
    head = PageHead(validated_at=NOW - 0.5, lifetime_s=300)
    assert replaces(head, page(400), POLICY, now=NOW, revalidate=True)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (PageHead(validated_at=NOW, marker="missing"), True),
        (PageHead(validated_at=NOW, marker="refused"), True),
        (PageHead(validated_at=NOW - 900, marker="refused"), True),
        (PageHead(validated_at=NOW - 901, marker="refused"), False),
        (PageHead(validated_at=NOW), False),
    ],
)
def test_later_absence_or_refusal_contradicts_a_page(head: PageHead, *, expected: bool) -> None:
    """An older one does not, nor does a page."""
    assert contradicts(head, page(900)) is expected
