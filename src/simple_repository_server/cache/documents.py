"""The pages or the list of one index behind a cache: memory, then disk, then the index.

memory ──miss──▶ disk ──miss, or stale──▶ the index, with one request for all who wait

This is the driver: what to do is decided in `policy.py`. The clock is read once when a request
arrives, for all that is decided about it, and an entry has the time at which its index answered.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar, assert_never

import msgspec

from simple_repository_server.cache.background import Background
from simple_repository_server.cache.fetcher import Fetcher, Refusals
from simple_repository_server.cache.memory import ENTRY_BYTES, Memory
from simple_repository_server.cache.page_writer import PageWriter
from simple_repository_server.cache.policy import (
    CacheEntry,
    CachePolicy,
    Decision,
    ErrorVerdict,
    Verdict,
    after_error,
    decide,
    replaces,
)
from simple_repository_server.cache.recent_failures import RecentFailures
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.cache.stored_documents import StoredDocuments, confirmed
from simple_repository_server.disk.page_store import PageHead, PageStore
from simple_repository_server.errors import (
    Malformed,
    RepositoryError,
    SourceInvalid,
    SourceUnavailable,
)
from simple_repository_server.model import ProjectList, ProjectPage, RequestContext

S = TypeVar("S", ProjectPage, ProjectList)

#: What an entry takes in memory beside its snapshot: when it was validated, its validators.
_ENTRY_BYTES = 1600
_NEGATIVE_ENTRY_BYTES = 600
#: A request that was joined in flight may have accepted an older entry than this one does.
_ATTEMPTS = 2


class CachedDocuments(Generic[S]):
    """One kind of document of an index, by name: its pages, or its list.

    `fetcher` requests and parses them; `memory` and, if given, `store` hold them (`writer` writes
    to it); `policy` and `refusals` say for how long they may be served. Work nobody waits for runs
    in `background`. `report` is given the reason of each failure, and None after each success.
    """

    def __init__(
        self,
        fetcher: Fetcher[S],
        *,
        policy: CachePolicy,
        memory: Memory[str, CacheEntry[S]],
        store: PageStore | None = None,
        writer: PageWriter | None = None,
        refusals: Refusals,
        background: Background,
        clock: Callable[[], float],
        report: Callable[[str | None], None],
    ) -> None:
        self._fetcher: Fetcher[S] = fetcher
        self._stored: StoredDocuments[S] = StoredDocuments(fetcher, store=store, writer=writer)
        self._policy = policy
        self._memory: Memory[str, CacheEntry[S]] = memory
        self._refusals = refusals
        self._background = background
        self._clock = clock
        self._report = report
        self._failures = RecentFailures()
        self._flight: SingleFlight[str, CacheEntry[S]] = SingleFlight()
        #: Names that were changed by hand while they were being fetched.
        self._forgotten: set[str] = set()
        #: How many exchanges with the index are over, failed ones included.
        self._exchanges = 0

    async def get(self, name: str, context: RequestContext) -> S | None:
        """The document, or None if there is none of that name. Raises `SourceUnavailable`."""
        now, exchanges, revalidate = self._clock(), self._exchanges, context.revalidate
        entry = self._memory.get(name)
        if entry is None:
            work = partial(self._load_or_fetch, name, now=now, revalidate=revalidate)
            entry = await self._once(name, work)
        for _ in range(_ATTEMPTS):
            if entry.exchange > exchanges:  # the index was requested on behalf of this one, too
                break
            verdict = self._decide(entry, now=now, revalidate=revalidate).verdict
            match verdict:
                case Verdict.FRESH | Verdict.ABSENT | Verdict.SERVE_STALE | Verdict.OFFLINE_HIT:
                    _show(entry, verdict)
                    break
                case Verdict.SERVE_AND_REVALIDATE:
                    self._in_background(name, entry, now=now)
                    _show(entry, verdict)
                    break
                case Verdict.OFFLINE_MISS:
                    raise self.unknown(name)
                case Verdict.REVALIDATE | Verdict.FETCH:
                    work = partial(self._revalidate, name, entry, now=now, revalidate=revalidate)
                    entry = await self._once(name, work)
                case _:
                    assert_never(verdict)
        return entry.snapshot

    def peek(self, name: str, context: RequestContext) -> CacheEntry[S] | None:
        """The entry in memory if it is a hit; None if the disk or the index has to be consulted."""
        if context.revalidate:
            return None
        entry = self._memory.get(name)
        if entry is None:
            return None
        refused = self._refusals.holds
        decision = decide(entry, self._policy, self._clock(), context.revalidate, refused)
        if not decision.is_hit:
            return None
        snapshot = entry.snapshot  # `_show`, without a call on the hot path
        if snapshot is not None and snapshot.freshness.verdict is not decision.verdict:
            snapshot.freshness.verdict = decision.verdict
        return entry

    def forget(self, name: str) -> None:
        """Look the name up on disk the next time."""
        self._memory.discard(name)
        self._failures.forget(name)
        if self._flight.is_running(name):
            self._forgotten.add(name)

    def is_awaited(self, name: str) -> bool:
        """Whether it is in flight, with nothing to serve until it is complete."""
        return self._memory.get(name) is None and self._flight.is_running(name)

    async def close(self) -> None:
        """Cancel what is in flight."""
        await self._flight.cancel_all()

    def unknown(self, name: str) -> SourceUnavailable:
        """Offline: that a project is not cached is no evidence that it does not exist."""
        if self._refusals.holds:
            reason = f"this server is offline, and when it last was not, {self._refusals.reason}"
            return SourceUnavailable(self._fetcher.label, reason, refused=True)
        reason = (
            f"this server is offline, and its cache does not know whether {name!r} exists; "
            "run it without --offline and request that project once"
        )
        return SourceUnavailable(self._fetcher.label, reason)

    def _decide(self, entry: CacheEntry[S] | None, *, now: float, revalidate: bool) -> Decision:
        refused = self._refusals.holds
        return decide(entry, self._policy, now=now, revalidate=revalidate, refused=refused)

    def _in_background(self, name: str, entry: CacheEntry[S], *, now: float) -> None:
        """Revalidate it, unless that is in flight already."""
        if not self._flight.is_running(name):
            work = partial(self._revalidate, name, entry, now=now, revalidate=False)
            self._background.start(self._once(name, work))

    async def _once(self, name: str, work: Callable[[], Awaitable[CacheEntry[S]]]) -> CacheEntry[S]:
        """The result of the work in flight for the name, or else of this work."""

        async def tidily() -> CacheEntry[S]:
            try:
                return await work()
            finally:
                self._forgotten.discard(name)

        return await self._flight.run(name, tidily)

    async def _load_or_fetch(self, name: str, *, now: float, revalidate: bool) -> CacheEntry[S]:
        """The entry on disk, if it may be served; else what the index answers."""
        entry = await self._stored.load(name)
        if entry is not None:
            self._remember(name, entry)
        verdict = self._decide(entry, now=now, revalidate=revalidate).verdict
        match verdict:
            case Verdict.OFFLINE_MISS:
                raise self.unknown(name)
            case (
                Verdict.FRESH
                | Verdict.ABSENT
                | Verdict.SERVE_STALE
                | Verdict.OFFLINE_HIT
                | Verdict.SERVE_AND_REVALIDATE
            ):
                if entry is not None:  # always
                    return entry
            case Verdict.REVALIDATE | Verdict.FETCH:
                pass
            case _:
                assert_never(verdict)
        return await self._revalidate(name, entry, now=now, revalidate=revalidate)

    async def _revalidate(
        self, name: str, previous: CacheEntry[S] | None, *, now: float, revalidate: bool
    ) -> CacheEntry[S]:
        """What the index answers now; the stale entry if it fails and that may be served.

        That is `previous`, if it is no longer in memory. Raises `SourceUnavailable`.
        """
        previous = self._memory.get(name) or previous
        entry = await self._reload_if_newer_on_disk(name, previous, now=now, revalidate=revalidate)
        if entry is None:
            try:
                entry = await self._fetch(name, previous)
            except SourceUnavailable as error:
                self._report(error.reason)
                entry = await self._after_error(name, previous, error)
            else:
                self._report(None)
            self._exchanges += 1
            entry = msgspec.structs.replace(entry, exchange=self._exchanges)
        self._remember(name, entry)
        return entry

    async def _reload_if_newer_on_disk(
        self, name: str, previous: CacheEntry[S] | None, *, now: float, revalidate: bool
    ) -> CacheEntry[S] | None:
        """The entry another process stored in the meantime, if that spares us the request."""
        if previous is None:
            return None
        head = await self._stored.head(name)
        if head is None or not replaces(
            head, previous, self._policy, now=now, revalidate=revalidate
        ):
            return None
        return await self._stored.load(name, previous)

    async def _fetch(self, name: str, previous: CacheEntry[S] | None) -> CacheEntry[S]:
        """What the index answers. Raises `SourceUnavailable` for any failure or invalid answer.

        After an expensive failure it is not requested again for a while.
        """
        self._failures.check(name)
        began = time.monotonic()
        try:
            return await self._answered(name, previous)
        except SourceUnavailable as error:
            self._failures.record(name, error, took_s=time.monotonic() - began)
            raise
        except RepositoryError:
            raise
        except Exception as error:
            raise self._fetcher.unexpected(error) from error

    async def _answered(self, name: str, previous: CacheEntry[S] | None) -> CacheEntry[S]:
        known = previous.head if previous is not None and previous.snapshot is not None else None
        fetched = await self._fetcher.fetch(name, known)
        head = fetched.head
        if fetched.not_modified and previous is not None:
            self._stored.confirm(name, head)
            self._refusals.answered()
            entry = confirmed(previous, head)
            _show(entry, Verdict.REVALIDATE)
            return entry
        if head.missing:
            entry = CacheEntry(snapshot=None, head=head)
        else:
            try:
                entry = await self._stored.parse(name, head, fetched.body, previous)
            except Malformed as error:
                raise SourceInvalid(self._fetcher.label, str(error)) from error
            _show(entry, Verdict.FETCH)
            self._refusals.answered()
        self._stored.save(name, head, fetched.raw)
        return entry

    async def _after_error(
        self, name: str, previous: CacheEntry[S] | None, error: SourceUnavailable
    ) -> CacheEntry[S]:
        """The stale entry, if it may be served though the index failed; else raises `error`."""
        refused, on_disk = self._refusals.holds, None
        if not error.refused:  # a refusal counts at once: no request may overtake it
            if name in self._forgotten:
                previous = await self._stored.load(name)
            refused = await self._refusals.reload()
            on_disk = await self._stored.head(name) if previous is not None else None
        now = self._clock()
        verdict = after_error(
            previous, self._policy, error, now=now, refused=refused, on_disk=on_disk
        ).verdict
        match verdict:
            case ErrorVerdict.SERVE_STALE:
                if previous is not None:  # always
                    _show(previous, Verdict.SERVE_STALE)
                    return msgspec.structs.replace(previous, failed_at=now, stale_reason=str(error))
            case ErrorVerdict.FORBID:
                self._refusals.refused(error.reason)
                self._memory.discard(name)
                if previous is not None:
                    head = PageHead(validated_at=now, marker="refused", reason=error.reason)
                    self._stored.save(name, head)
            case ErrorVerdict.DISCARD:
                self._memory.discard(name)
            case ErrorVerdict.FAIL:
                pass
            case _:
                assert_never(verdict)
        raise error

    def _remember(self, name: str, entry: CacheEntry[S]) -> None:
        """Put it into memory, and bring the freshness of its snapshot up to date.

        This is the only place that changes it: everyone who holds the snapshot sees the change.
        """
        head, snapshot = entry.head, entry.snapshot
        weight = ENTRY_BYTES + 2 * len(name) + len(head.url) + len(head.content_type)
        weight += sum(map(len, head.validators.values()))
        if snapshot is None:
            weight += _NEGATIVE_ENTRY_BYTES
        else:
            weight += _ENTRY_BYTES + snapshot.weight
            live = snapshot.freshness
            live.validated_at, live.lifetime_s = head.validated_at, head.lifetime_s
            live.stale_reason = entry.stale_reason
        self._memory.put(name, entry, weight)


def _show(entry: CacheEntry[S], verdict: Verdict) -> None:
    """Have the snapshot, if there is one, show how it is served."""
    snapshot = entry.snapshot
    if snapshot is not None and snapshot.freshness.verdict is not verdict:
        snapshot.freshness.verdict = verdict
