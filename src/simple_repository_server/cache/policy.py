"""May what an index said be used again? Pure decisions, with the time as an argument.

A clock that was set back never keeps anything alive: what seems to have happened in the future is
neither fresh, nor a failure that is too recent to ask again.
"""

from typing import Generic, TypeVar

import msgspec

from simple_repository_server.cache.freshness import STALE_IF_ERROR_S, is_fresh
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.model import Freshness, ProjectList, ProjectPage

S = TypeVar("S", ProjectPage, ProjectList)

#: How long after a failure a stale page is served without asking again.
STALE_RETRY_S = 5.0
#: How often a client can make us ask upstream with `no-cache`.
REVALIDATE_AFTER_S = 1.0
#: A page from further in the future has an age that nobody knows.
_MAX_AHEAD_S = 24 * 3600.0


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long what was said counts, in seconds."""

    #: How long "there is no such thing" is believed.
    negative_ttl_s: float = 60.0
    #: How old a page may get while its index cannot be asked: after that, no answer is better.
    stale_if_error_s: float = STALE_IF_ERROR_S
    #: For how long a stale page is served once more while it is confirmed, where its index does
    #: not say; in any case no longer than it was fresh.
    stale_while_revalidate_s: float = 0.0
    #: Ask nobody: what is kept counts, whatever its age, and what is not kept is unknown.
    offline: bool = False


class CacheEntry(msgspec.Struct, Generic[S], kw_only=True):
    """What an index said last, with what is needed to ask again."""

    #: None: there is no such thing.
    snapshot: S | None
    freshness: Freshness
    #: As it is on disk, with the digest of its body.
    head: PageHead
    digest: bytes = b""
    #: When the index could not be asked; None: it answered the last time.
    failed_at: float | None = None
    #: When this process was answered last, by the monotonic clock; 0: never.
    asked_at: float = 0.0


def is_usable(
    entry: CacheEntry[S],
    policy: CachePolicy,
    *,
    now: float,
    revalidate: bool = False,
    refused: bool = False,
) -> bool:
    """Whether it is served as it is. `refused`: so was the last request to its index."""
    if entry.failed_at is not None:
        pause = REVALIDATE_AFTER_S if revalidate else STALE_RETRY_S
        return not refused and is_fresh(validated_at=entry.failed_at, lifetime=pause, now=now)
    if policy.offline:
        return not refused
    lifetime = policy.negative_ttl_s if entry.snapshot is None else entry.freshness.lifetime_s
    if revalidate:
        lifetime = min(lifetime, REVALIDATE_AFTER_S)
    return 0 <= now - entry.freshness.validated_at < lifetime  # `is_fresh`, on the hot path


def may_revalidate_later(
    entry: CacheEntry[S],
    *,
    stale_while_revalidate_s: float,
    now: float,
    revalidate: bool,
    refused: bool,
) -> bool:
    """Whether it is served once more while its index is asked (stale-while-revalidate).

    `stale_while_revalidate_s` is the least time for that, whatever its index said.
    """
    if entry.snapshot is None or entry.failed_at is not None or revalidate or refused:
        return False
    lifetime = entry.freshness.lifetime_s + max(
        entry.head.stale_while_revalidate_s, stale_while_revalidate_s
    )
    return is_fresh(validated_at=entry.freshness.validated_at, lifetime=lifetime, now=now)


def may_serve_stale(
    entry: CacheEntry[S], policy: CachePolicy, *, now: float, refused: bool
) -> bool:
    """Whether it is served though its index cannot be asked (stale-if-error)."""
    age = now - entry.freshness.validated_at
    ahead = min(_MAX_AHEAD_S, policy.stale_if_error_s)
    young = -ahead <= age < policy.stale_if_error_s
    return entry.snapshot is not None and young and not refused


def counts_for(
    head: PageHead, entry: CacheEntry[S], policy: CachePolicy, *, now: float, revalidate: bool
) -> bool:
    """Whether what another process was told makes asking unnecessary."""
    mine = entry.head.validated_at
    newer = head.validated_at > mine or mine > now
    if not newer or head.refused or head.expired:
        return False
    lifetime = policy.negative_ttl_s if head.missing else head.lifetime_s
    if revalidate:
        lifetime = min(lifetime, REVALIDATE_AFTER_S)
    return is_fresh(validated_at=head.validated_at, lifetime=lifetime, now=now)


def contradicts(head: PageHead, entry: CacheEntry[S]) -> bool:
    """Whether another process was told since that it is not there, or that we may not see it."""
    gone = head.missing or head.refused
    return gone and head.validated_at >= entry.freshness.validated_at
