"""What an index says, by name: kept, confirmed when stale, served on when the index is down.

memory ──miss──▶ disk ──miss, or stale──▶ the index, once for all who wait
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

import msgspec

from simple_repository_server.cache.freshness import lifetime_s
from simple_repository_server.cache.memory import ENTRY_BYTES, Memory
from simple_repository_server.cache.policy import (
    CacheEntry,
    CachePolicy,
    contradicts,
    counts_for,
    is_usable,
    may_revalidate_later,
    may_serve_stale,
)
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.errors import (
    RepositoryError,
    SourceInvalid,
    SourceUnavailable,
)
from simple_repository_server.model import ProjectList, ProjectPage, RequestContext
from simple_repository_server.sources.http_answers import (
    AnswerReader,
    confirmed,
    head_of,
    missing_entry,
)
from simple_repository_server.sources.http_cache import IndexCache
from simple_repository_server.sources.http_failures import RecentFailures
from simple_repository_server.upstream.client import UpstreamClient
from simple_repository_server.wire import pages

S = TypeVar("S", ProjectPage, ProjectList)

#: What is known beside a page or list: when it was confirmed, how to ask again; and without one.
_KEPT_BYTES, _NOTE_BYTES = 1600, 600
#: A request that was joined may have been content with less than is wanted here.
_ATTEMPTS = 2


class CachedDocuments(Generic[S]):
    """One kind of what the index of `client` has: pages, or the list.

    `url_of` says where to find what has a name, `reader` makes an entry of it, `note` is told
    of each failure's reason, and None after each success. However stale, nobody waits
    until it is confirmed, up to `min_stale_while_revalidate_s` after it was fresh. `cache` is the
    one of this index.
    """

    def __init__(
        self,
        client: UpstreamClient,
        cache: IndexCache,
        reader: AnswerReader[S],
        *,
        url_of: Callable[[str], str],
        memory: Memory[str, CacheEntry[S]],
        policy: CachePolicy,
        min_stale_while_revalidate_s: float = 0.0,
        clock: Callable[[], float],
        note: Callable[[str | None], None],
    ) -> None:
        self._client = client
        self._reader: AnswerReader[S] = reader
        self._url_of = url_of
        self._policy = policy
        self._min_stale_while_revalidate_s = min_stale_while_revalidate_s
        self._store = cache.store
        self._writer = cache.writer
        self._refusal = cache.refusal
        self._background = cache.background
        self._clock = clock
        self._note = note
        self._memory: Memory[str, CacheEntry[S]] = memory
        self._failures = RecentFailures()
        self._flight: SingleFlight[str, CacheEntry[S]] = SingleFlight()
        #: What was forgotten by hand while it was being fetched.
        self._forgotten: set[str] = set()

    async def get(self, name: str, context: RequestContext) -> S | None:
        """What the index has under that name, or None. Raises `SourceUnavailable`."""
        began, revalidate = time.monotonic(), context.revalidate
        entry = self._memory.get(name)
        if entry is None:
            entry = await self._once(name, partial(self._first, name, revalidate=revalidate))
        if self._is_usable(entry, revalidate=revalidate):
            return entry.snapshot
        if self._policy.offline:
            raise self.unknown(name)
        if self._may_revalidate_later(entry, revalidate=revalidate):
            if not self._flight.is_running(name):
                self._background.start(self._refreshed(name, entry, revalidate=False))
            return entry.snapshot
        for _ in range(_ATTEMPTS):
            if entry.asked_at >= began or self._is_usable(entry, revalidate=revalidate):
                break
            entry = await self._refreshed(name, entry, revalidate=revalidate)
        return entry.snapshot

    def peek(self, name: str, context: RequestContext) -> CacheEntry[S] | None:
        """What is in memory and counts now; None if the disk or the index has to be asked."""
        if context.revalidate:
            return None
        entry = self._memory.get(name)
        if entry is None:
            return None
        refused = self._refusal.holds
        return entry if is_usable(entry, self._policy, now=self._clock(), refused=refused) else None

    def forget(self, name: str) -> None:
        """Look at the disk the next time."""
        self._memory.discard(name)
        self._failures.forget(name)
        if self._flight.is_running(name):
            self._forgotten.add(name)

    def is_awaited(self, name: str) -> bool:
        """Whether it is being fetched, and there is nothing to serve until then."""
        return self._memory.get(name) is None and self._flight.is_running(name)

    async def close(self) -> None:
        """Stop asking."""
        await self._flight.cancel_all()

    def _is_usable(self, entry: CacheEntry[S], *, revalidate: bool) -> bool:
        return is_usable(
            entry,
            self._policy,
            now=self._clock(),
            revalidate=revalidate,
            refused=self._refusal.holds,
        )

    def _may_revalidate_later(self, entry: CacheEntry[S], *, revalidate: bool) -> bool:
        return may_revalidate_later(
            entry,
            stale_while_revalidate_s=self._min_stale_while_revalidate_s,
            now=self._clock(),
            revalidate=revalidate,
            refused=self._refusal.holds,
        )

    async def _first(self, name: str, *, revalidate: bool) -> CacheEntry[S]:
        """What is on disk, to be used or to be confirmed; else what the index says."""
        entry = await self._load(name)
        if self._policy.offline:
            if entry is None:
                raise self.unknown(name)
            self._remember(name, entry)
            return entry
        if entry is not None and not entry.head.expired:
            self._remember(name, entry)
            if self._is_usable(entry, revalidate=revalidate):
                return entry
            if self._may_revalidate_later(entry, revalidate=revalidate):
                return entry
        return await self._refresh(name, entry, revalidate=revalidate)

    async def _refreshed(
        self, name: str, entry: CacheEntry[S], *, revalidate: bool
    ) -> CacheEntry[S]:
        return await self._once(name, partial(self._refresh, name, entry, revalidate=revalidate))

    async def _once(self, name: str, work: Callable[[], Awaitable[CacheEntry[S]]]) -> CacheEntry[S]:
        """What the work under way for the name comes to, or else this work."""

        async def tidily() -> CacheEntry[S]:
            try:
                return await work()
            finally:
                self._forgotten.discard(name)

        return await self._flight.run(name, tidily)

    async def _refresh(
        self, name: str, previous: CacheEntry[S] | None, *, revalidate: bool
    ) -> CacheEntry[S]:
        """What the index says now; what it said before, marked as stale, if it cannot be asked.

        That is `previous`, if it is not in memory: not all fits there.
        """
        previous = self._memory.get(name) or previous
        entry = await self._learned_by_others(name, previous, revalidate=revalidate)
        if entry is None:
            try:
                entry = await self._ask(name, previous)
            except SourceUnavailable as error:
                self._note(error.reason)
                entry = await self._after_error(name, previous, error)
                if entry is None:
                    raise
            else:
                self._note(None)
            entry.asked_at = time.monotonic()
        self._remember(name, entry)
        return entry

    async def _after_error(
        self, name: str, previous: CacheEntry[S] | None, error: SourceUnavailable
    ) -> CacheEntry[S] | None:
        """What was said before, to be served on as the index cannot be asked; None if it may not.

        It may not if we were refused, or another process was told since that it is gone.
        """
        if error.refused:
            self._forbid(name, error.reason, known=previous is not None)
            return None
        if name in self._forgotten:
            previous = await self._load(name)
        refused = await self._refusal.look()
        now = self._clock()
        if previous is None or not may_serve_stale(
            previous, self._policy, now=now, refused=refused
        ):
            return None
        head = await self._store.head(name) if self._store is not None else None
        if head is not None and contradicts(head, previous):
            self._memory.discard(name)
            return None
        previous.freshness.stale_reason = str(error)
        previous.failed_at = now
        return previous

    def _forbid(self, name: str, reason: str, *, known: bool) -> None:
        """Serve nothing stale any more; of what was refused itself, nothing at all."""
        self._refusal.refused(reason)
        self._memory.discard(name)
        if known and self._writer is not None:
            head = PageHead(validated_at=self._clock(), marker="refused", reason=reason)
            self._writer.save(name, head, b"")

    async def _learned_by_others(
        self, name: str, previous: CacheEntry[S] | None, *, revalidate: bool
    ) -> CacheEntry[S] | None:
        """What another process was told in the meantime."""
        if self._store is None or previous is None:
            return None
        head = await self._store.head(name)
        now = self._clock()
        if head is None or not counts_for(
            head, previous, self._policy, now=now, revalidate=revalidate
        ):
            return None
        return await self._load(name, previous)

    async def _ask(self, name: str, previous: CacheEntry[S] | None) -> CacheEntry[S]:
        """What the index says. Raises `SourceUnavailable`, whatever goes wrong with its answer.

        Where that was a long wait, or it asked to be left alone, it is not asked again at once.
        """
        self._failures.check(name)
        began = time.monotonic()
        try:
            return await self._answered(name, previous)
        except SourceUnavailable as error:
            self._failures.note(name, error, took_s=time.monotonic() - began)
            raise
        except RepositoryError:
            raise
        except Exception as error:
            raise self._reader.unforeseen(error) from error

    async def _answered(self, name: str, previous: CacheEntry[S] | None) -> CacheEntry[S]:
        known = previous.head if previous and previous.snapshot else None
        url = self._url_of(name)
        answer = await self._client.get(
            url,
            accept=pages.ACCEPT,
            headers=known.validators if known else {},
            max_bytes=self._reader.max_bytes,
        )
        now = self._clock()
        if answer.missing:
            head = PageHead(validated_at=now, marker="missing")
            self._save(name, head, b"")
            return missing_entry(head)
        if answer.not_modified:
            if previous is None or known is None or not known.validators:
                reason = "status 304, though nothing was asked for again"
                raise SourceInvalid(self._client.label, reason)
            lifetime = lifetime_s(answer.headers, before=known.lifetime_s)
            head = msgspec.structs.replace(
                known, validated_at=now, lifetime_s=lifetime, expired=False
            )
            if self._writer is not None:
                self._writer.confirm(name, head)
            self._refusal.answered()
            return confirmed(previous, head)
        head = head_of(answer, url, now, self._policy)
        entry = await self._reader.entry(name, answer, head, previous)
        self._save(name, head, answer.raw)
        self._refusal.answered()
        return entry

    async def _load(self, name: str, previous: CacheEntry[S] | None = None) -> CacheEntry[S] | None:
        """What is on disk, if that is of any use."""
        if self._store is None:
            return None
        if self._writer is not None:
            await self._writer.settled(name)
        found = await self._store.load(name)
        if found is None:
            return None
        return await self._reader.stored(name, self._url_of(name), *found, previous)

    def _save(self, name: str, head: PageHead, raw: bytes) -> None:
        if self._writer is not None:
            self._writer.save(name, head, raw)

    def _remember(self, name: str, entry: CacheEntry[S]) -> None:
        snapshot = entry.snapshot
        weight = _NOTE_BYTES if snapshot is None else _KEPT_BYTES + snapshot.weight
        said = sum(
            map(len, (entry.head.url, entry.head.content_type, *entry.head.validators.values()))
        )
        self._memory.put(name, entry, ENTRY_BYTES + 2 * len(name) + said + weight)

    def unknown(self, name: str) -> SourceUnavailable:
        """Offline: that something is not in the cache is no sign that it does not exist."""
        if self._refusal.holds:
            reason = f"this server is offline, and when it last was not, {self._refusal.reason}"
            return SourceUnavailable(self._client.label, reason, refused=True)
        reason = (
            f"this server is offline, and nothing in its cache says whether {name!r} is there; "
            "run it without --offline and request that project once"
        )
        return SourceUnavailable(self._client.label, reason)
