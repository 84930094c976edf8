"""What a cache may do with an entry: one decision, pure, with the time as an argument.

`decide` answers "Why was this page stale?" (and "Why was upstream requested?"): its verdict says
what to do, its reason why. An entry whose index failed carries that failure, so this holds during
an outage too. `after_error` decides what becomes of an entry at the moment its index fails.

A clock that was set back never keeps an entry alive: what seems to have happened in the future is
neither fresh nor a failure too recent to retry.

How a document was served is shown by `Freshness.verdict`, in the words of `Verdict`:

| word                     | the document                                        | standard      |
|--------------------------|-----------------------------------------------------|---------------|
| `fresh`                  | came from the cache, within its lifetime            | RFC 9111 §4.2 |
| `negative`               | is cached as absent, within the negative TTL        | RFC 9111 §4   |
| `stale-while-revalidate` | came from the cache, and is being revalidated       | RFC 5861 §3   |
| `stale-if-error`         | came from the cache, because its index failed       | RFC 5861 §4   |
| `offline`                | came from the cache, as nothing is fetched offline  | RFC 9111 §4.2.4 |
| `revalidated`            | was confirmed by its index (304) for this request   | RFC 9111 §4.3 |
| `fetched`                | was sent by its index (200) for this request        | RFC 9111 §3   |

(`unknown`, of a miss offline, is an error, and shown nowhere.)
"""

from enum import Enum, StrEnum
from typing import Generic, TypeVar

import msgspec

from simple_repository_server.cache.freshness import STALE_IF_ERROR_S, is_fresh
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.model import ProjectList, ProjectPage

S = TypeVar("S", ProjectPage, ProjectList)

#: For how long after a failure a stale page is served without another attempt.
STALE_RETRY_S = 5.0
#: The shortest interval in which clients can cause requests upstream with `no-cache`.
REVALIDATE_AFTER_S = 1.0
#: The age of a page from further in the future is unknown.
_MAX_AHEAD_S = 24 * 3600.0
#: A failure that took less than this is cheap, and retried at once.
_QUICK_FAILURE_S = 2.0
#: Longer than the backoff of an installer before its last attempt: uv waits up to 15 s.
_MAX_RETRY_PAUSE_S = 20.0


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """For how long cache entries may be used, in seconds."""

    #: For how long "no such project" is cached (negative TTL).
    negative_ttl_s: float = 60.0
    #: The highest age of a page that is served while its index fails (stale-if-error).
    stale_if_error_s: float = STALE_IF_ERROR_S
    #: For how long a stale page is served while it is revalidated, where its index does not say;
    #: never longer than its index declared it fresh (stale-while-revalidate).
    stale_while_revalidate_s: float = 0.0
    #: The same as a minimum, regardless of the index: for documents nobody should wait for.
    min_stale_while_revalidate_s: float = 0.0
    #: Send no requests: entries are used at any age, and anything else is unknown.
    offline: bool = False


class CacheEntry(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """A document as its index sent it last, with what is needed to revalidate it."""

    #: None: a negative entry.
    snapshot: S | None
    #: As it is on disk.
    head: PageHead
    #: Of the document's address, type and decoded body.
    digest: bytes = b""
    #: When its index failed, by the clock; None: the last request succeeded.
    failed_at: float | None = None
    #: Why it is served stale; None while it is not.
    stale_reason: str | None = None
    #: The number of the exchange with the index that it comes from; 0: from disk.
    exchange: int = 0


class Verdict(StrEnum):
    """What to do for a request; the value is how the document is shown to have been served."""

    #: Serve it from the cache.
    FRESH = "fresh"
    #: Report that it does not exist.
    ABSENT = "negative"
    #: Serve it, and revalidate it in the background.
    SERVE_AND_REVALIDATE = "stale-while-revalidate"
    #: Serve it without another attempt: its index failed moments ago.
    SERVE_STALE = "stale-if-error"
    #: Serve it at any age.
    OFFLINE_HIT = "offline"
    #: Fail: whether it exists cannot be found out.
    OFFLINE_MISS = "unknown"
    #: Ask the index whether it has changed, and wait for the answer.
    REVALIDATE = "revalidated"
    #: Fetch it, and wait for it.
    FETCH = "fetched"


class Decision(msgspec.Struct, frozen=True):
    """A verdict and the reason for it, in one phrase."""

    verdict: Verdict
    reason: str
    #: Whether the entry answers the request as it is: nobody waits and nothing is fetched.
    is_hit: bool = False


_FRESH = Decision(Verdict.FRESH, "its lifetime is not over", is_hit=True)
_ABSENT = Decision(Verdict.ABSENT, "its negative TTL is not over", is_hit=True)
_SERVE_STALE = Decision(Verdict.SERVE_STALE, "its index failed moments ago", is_hit=True)
_OFFLINE_HIT = Decision(Verdict.OFFLINE_HIT, "nothing is revalidated offline", is_hit=True)
_REVALIDATING = Decision(
    Verdict.SERVE_AND_REVALIDATE, "its stale-while-revalidate time is not over"
)
_OFFLINE_MISS = Decision(Verdict.OFFLINE_MISS, "nothing is fetched offline")
_OFFLINE_REFUSED = Decision(Verdict.OFFLINE_MISS, "its index refused the last request")
_MISS = Decision(Verdict.FETCH, "it is not cached")
_NEGATIVE_EXPIRED = Decision(Verdict.FETCH, "its negative TTL is over")
_NEGATIVE_NO_CACHE = Decision(Verdict.FETCH, "the client sent no-cache")
_RETRY = Decision(Verdict.REVALIDATE, "the pause after the failure of its index is over")
_REFUSED = Decision(Verdict.REVALIDATE, "its index refused the last request")
_EXPIRED = Decision(Verdict.REVALIDATE, "it was expired by hand")
_AHEAD = Decision(Verdict.REVALIDATE, "the clock was set back since it was validated")
_NO_CACHE = Decision(Verdict.REVALIDATE, "the client sent no-cache")
_STALE = Decision(Verdict.REVALIDATE, "its lifetime is over")


def decide(
    entry: CacheEntry[S] | None,
    policy: CachePolicy,
    # Not keyword-only: a peek passes them by position, which saves a tenth of its time.
    now: float,
    revalidate: bool = False,  # noqa: FBT002 - see above
    refused: bool = False,  # noqa: FBT002 - see above
) -> Decision:
    """What to do for a request made at `now`, and why. `entry` is None if nothing is cached.

    `revalidate`: the client sent `no-cache`. `refused`: the index refused (401, 403) the last
    request, so nothing stale is served.
    """
    if entry is None:
        return _OFFLINE_MISS if policy.offline else _MISS
    if entry.failed_at is not None:
        return _after_failure(now - entry.failed_at, revalidate=revalidate, refused=refused)
    if policy.offline:
        return _OFFLINE_REFUSED if refused else _OFFLINE_HIT
    head = entry.head
    if entry.snapshot is not None:
        lifetime, hit = head.lifetime_s, _FRESH
    else:
        lifetime, hit = policy.negative_ttl_s, _ABSENT
    if revalidate and lifetime > REVALIDATE_AFTER_S:
        lifetime = REVALIDATE_AFTER_S
    age = now - head.validated_at
    if 0 <= age < lifetime and not head.expired:
        return hit
    if entry.snapshot is None:
        return _NEGATIVE_NO_CACHE if revalidate else _NEGATIVE_EXPIRED
    return _of_stale(head, policy, age, revalidate=revalidate, refused=refused)


def _after_failure(since_s: float, *, revalidate: bool, refused: bool) -> Decision:
    """RFC 5861 §4 allows the stale response; the pause spares a failing index retries."""
    if refused:
        return _REFUSED
    pause_s = REVALIDATE_AFTER_S if revalidate else STALE_RETRY_S
    return _SERVE_STALE if 0 <= since_s < pause_s else _RETRY


def _of_stale(
    head: PageHead, policy: CachePolicy, age: float, *, revalidate: bool, refused: bool
) -> Decision:
    """RFC 5861 §3, unless something forbids to serve it unvalidated (RFC 9111 §4.2.4)."""
    if head.expired:
        return _EXPIRED
    if age < 0:
        return _AHEAD
    if revalidate:
        return _NO_CACHE
    if refused:
        return _REFUSED
    allowed_s = max(head.stale_while_revalidate_s, policy.min_stale_while_revalidate_s)
    return _REVALIDATING if age < head.lifetime_s + allowed_s else _STALE


class ErrorVerdict(Enum):
    """What to do when the index failed instead of answering."""

    #: Serve the stale document (stale-if-error).
    SERVE_STALE = "serve stale"
    #: Pass the error on.
    FAIL = "fail"
    #: Pass the error on, and forget the entry: another process learned that it was deleted.
    DISCARD = "discard"
    #: Pass the error on, forget the entry, and serve nothing stale until the index answers again.
    FORBID = "forbid"


class ErrorDecision(msgspec.Struct, frozen=True):
    """A verdict and the reason for it, in one phrase."""

    verdict: ErrorVerdict
    reason: str


def after_error(
    entry: CacheEntry[S] | None,
    policy: CachePolicy,
    error: SourceUnavailable,
    *,
    now: float,
    refused: bool = False,
    on_disk: PageHead | None = None,
) -> ErrorDecision:
    """What to do after the index failed at `now` with `error` (stale-if-error, RFC 5861 §4).

    `refused`: it refused an earlier request, perhaps another process's. `on_disk` is what any
    process stored last for the same document.
    """
    if error.refused:
        return ErrorDecision(ErrorVerdict.FORBID, "its index refuses to show it")
    if entry is None:
        return ErrorDecision(ErrorVerdict.FAIL, "it is not cached")
    age = now - entry.head.validated_at
    if entry.snapshot is None:  # another index would be believed to own the name
        reason = "a negative entry is never served stale"
    elif refused:
        reason = "its index refused an earlier request"
    elif age >= policy.stale_if_error_s:
        reason = "it is too old"
    elif age < -min(_MAX_AHEAD_S, policy.stale_if_error_s):
        reason = "its age is unknown: the clock was set back"
    elif on_disk is not None and contradicts(on_disk, entry):
        return ErrorDecision(ErrorVerdict.DISCARD, "another process learned that it was deleted")
    else:
        return ErrorDecision(ErrorVerdict.SERVE_STALE, "its index failed")
    return ErrorDecision(ErrorVerdict.FAIL, reason)


def contradicts(on_disk: PageHead, entry: CacheEntry[S]) -> bool:
    """Whether another process learned since that the document was deleted or is refused."""
    withdrawn = on_disk.missing or on_disk.refused
    return withdrawn and on_disk.validated_at >= entry.head.validated_at


def replaces(
    on_disk: PageHead,
    entry: CacheEntry[S],
    policy: CachePolicy,
    *,
    now: float,
    revalidate: bool = False,
) -> bool:
    """Whether what another process stored makes a request upstream unnecessary.

    It does if it is newer than `entry` and fresh.
    """
    mine = entry.head.validated_at
    newer = on_disk.validated_at > mine or mine > now
    if not newer or on_disk.refused or on_disk.expired:
        return False
    lifetime = policy.negative_ttl_s if on_disk.missing else on_disk.lifetime_s
    if revalidate:
        lifetime = min(lifetime, REVALIDATE_AFTER_S)
    return is_fresh(validated_at=on_disk.validated_at, lifetime=lifetime, now=now)


def retry_pause_s(error: SourceUnavailable, *, took_s: float) -> float:
    """For how long the same request is not sent again after it failed like that.

    As long as the index asks for (`Retry-After`, RFC 9110 §10.2.3), else as long as the failure
    took to show, up to 20 s: each retry of a client would wait as long again.
    """
    if error.transient and error.retry_after_s is not None:
        return float(error.retry_after_s)
    if error.refused or took_s < _QUICK_FAILURE_S:
        return 0.0
    return min(took_s, _MAX_RETRY_PAUSE_S)
