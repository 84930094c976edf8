"""What an index says, by name: kept, confirmed when stale, served on when the index is down.

memory ──miss──▶ disk ──miss, or stale──▶ the index, once for all who wait
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from simple_repository_server.cache.freshness import (
    STALE_IF_ERROR_S,
    grace_s,
    is_fresh,
    lifetime_s,
)
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.pages import PageHead, PageStore
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import Malformed, SourceInvalid, SourceUnavailable
from simple_repository_server.model import Freshness, ProjectList, ProjectPage, RequestContext
from simple_repository_server.upstream.client import Answer, UpstreamClient, decoded
from simple_repository_server.wire import pages

S = TypeVar("S", ProjectPage, ProjectList)
R = TypeVar("R")

#: How long after a failure a stale page is served without asking again.
_STALE_RETRY_S = 5.0
#: How often a client can make us ask upstream with `no-cache`.
_REVALIDATE_AFTER_S = 1.0
#: Larger pages are read in a thread.
_READ_HERE_BYTES = 8_000
_MISSING_WEIGHT = 500
_CLOSE_S = 5.0


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How long what was said counts, in seconds."""

    #: How long "there is no such thing" is believed.
    missing_s: float = 60.0
    #: How old a page may get while its index cannot be asked: after that, no answer is better.
    stale_if_error_s: float = STALE_IF_ERROR_S
    #: For how long a stale page is served once more while it is confirmed, where its index does
    #: not say; in any case no longer than it was fresh.
    grace_s: float = 0.0
    #: Ask nobody: what is kept counts, whatever its age.
    offline: bool = False


class Kept(msgspec.Struct, Generic[S], kw_only=True):
    """What an index said last, with what is needed to ask again."""

    #: None: there is no such thing.
    snapshot: S | None
    freshness: Freshness
    #: As it is on disk, with the digest of its body.
    head: PageHead | None = None
    digest: bytes = b""
    retry_at: float = 0.0


class Documents(Generic[S]):
    """One kind of what the index of `client` has: pages, or the list.

    `url_of` says where to find what has a name, `read` makes a snapshot of it, `note` is told
    of each failure's reason, and None after each success. However stale, up to `min_grace_s` after
    it was fresh nobody waits until it is confirmed.
    """

    def __init__(
        self,
        client: UpstreamClient,
        *,
        url_of: Callable[[str], str],
        max_bytes: int,
        read: Callable[[str, Answer], S],
        memory_bytes: int,
        rules: Rules,
        min_grace_s: float = 0.0,
        store: PageStore | None,
        clock: Callable[[], float],
        note: Callable[[str | None], None],
    ) -> None:
        self._client = client
        self._url_of = url_of
        self._max_bytes = max_bytes
        self._read: Callable[[str, Answer], S] = read
        self._rules = rules
        self._min_grace_s = min_grace_s
        self._store = store
        self._clock = clock
        self._note = note
        self._kept: MemoryCache[str, Kept[S]] = MemoryCache(memory_bytes)
        self._flight: SingleFlight[str, Kept[S]] = SingleFlight()
        self._background: set[asyncio.Task[Any]] = set()
        #: The last one for each name that writes, for the next to wait for.
        self._writing: dict[str, asyncio.Task[Any]] = {}

    async def get(self, name: str, context: RequestContext) -> S | None:
        """What the index has under that name, or None. Raises `SourceUnavailable`."""
        known = self.peek(name, context)
        if known is not None:
            return known.snapshot
        now = self._clock()
        kept = self._kept.get(name)
        if kept is None:
            kept = await self._flight.run(name, partial(self._first, name, context))
        if self._usable(kept, context):
            return kept.snapshot
        if self._may_wait(kept, context):
            self._later(self._flight.run(name, partial(self._refresh, name, kept)))
        elif not now <= kept.freshness.validated_at <= self._clock():
            # Not asked since, as by who took it from the disk for somebody who wants less.
            kept = await self._flight.run(name, partial(self._refresh, name, kept))
        return kept.snapshot

    def peek(self, name: str, context: RequestContext) -> Kept[S] | None:
        """What is in memory and counts now; None if the disk or the index has to be asked."""
        if context.revalidate:
            return None
        kept = self._kept.get(name)
        return kept if kept is not None and self._usable(kept, context) else None

    def is_awaited(self, name: str) -> bool:
        """Whether it is being fetched, and there is nothing to serve until then."""
        return self._kept.get(name) is None and self._flight.is_running(name)

    async def close(self) -> None:
        """Stop asking; what is being written is written, within a bounded time."""
        await self._flight.cancel_all()
        if self._background:
            await asyncio.wait(self._background, timeout=_CLOSE_S)

    def _usable(self, kept: Kept[S], context: RequestContext) -> bool:
        now = self._clock()
        if kept.retry_at:
            return now < kept.retry_at
        if self._rules.offline:
            return True
        freshness = kept.freshness
        lifetime = freshness.lifetime_s if kept.snapshot is not None else self._rules.missing_s
        if context.revalidate:
            lifetime = min(lifetime, _REVALIDATE_AFTER_S)
        return is_fresh(validated_at=freshness.validated_at, lifetime=lifetime, now=now)

    def _may_wait(self, kept: Kept[S], context: RequestContext) -> bool:
        """Whether what is stale may be served once more, while the index is asked."""
        if kept.snapshot is None or kept.head is None or context.revalidate or kept.retry_at:
            return False
        grace = max(kept.head.grace_s, self._min_grace_s)
        lifetime = kept.freshness.lifetime_s + grace
        now = self._clock()
        return is_fresh(validated_at=kept.freshness.validated_at, lifetime=lifetime, now=now)

    def _later(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        async def run() -> None:
            with contextlib.suppress(SourceUnavailable):  # noted where it was raised
                await work

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _first(self, name: str, context: RequestContext) -> Kept[S]:
        """What is on disk, to be used or to be confirmed; else what the index says."""
        kept = await self._loaded(name)
        if kept is not None:
            self._remember(name, kept)
            if self._usable(kept, context) or self._may_wait(kept, context):
                return kept
        elif self._rules.offline:
            return Kept(snapshot=None, freshness=Freshness())
        return await self._refresh(name, kept)

    async def _refresh(self, name: str, previous: Kept[S] | None = None) -> Kept[S]:
        """What the index says now; what it said before, marked as stale, if it cannot be asked.

        That is `previous`, if it is not in memory: not all fits there.
        """
        previous = self._kept.get(name) or previous
        kept = await self._refreshed_by_others(name, previous)
        if kept is None:
            try:
                kept = await self._ask(name, previous)
            except SourceUnavailable as error:
                self._note(error.reason)
                if previous is None or not self._may_serve_stale(previous):
                    raise
                previous.freshness.stale_because = str(error)
                previous.retry_at = self._clock() + _STALE_RETRY_S
                return previous
            self._note(None)
        self._remember(name, kept)
        return kept

    async def _refreshed_by_others(self, name: str, previous: Kept[S] | None) -> Kept[S] | None:
        """What another process has learned in the meantime."""
        if self._store is None or previous is None or previous.head is None:
            return None
        head = await self._store.head(name)
        if head is None or head.validated_at <= previous.head.validated_at:
            return None
        if not is_fresh(
            validated_at=head.validated_at, lifetime=head.lifetime_s, now=self._clock()
        ):
            return None
        return await self._loaded(name, previous)

    async def _ask(self, name: str, previous: Kept[S] | None) -> Kept[S]:
        known = previous.head if previous and previous.snapshot else None
        answer = await self._client.get(
            self._url_of(name),
            accept=pages.ACCEPT,
            headers=known.validators if known else {},
            max_bytes=self._max_bytes,
        )
        now = self._clock()
        if answer.missing:
            if self._store is not None:
                self._write_later(name, self._store.discard(name))
            return Kept(snapshot=None, freshness=Freshness(validated_at=now))
        if answer.not_modified:
            if previous is None or known is None:
                reason = "status 304, though nothing was asked for again"
                raise SourceInvalid(self._client.label, reason)
            lifetime = lifetime_s(answer.headers, before=known.lifetime_s)
            head = msgspec.structs.replace(known, validated_at=now, lifetime_s=lifetime)
            self._save_later(name, head, None)
            return _confirmed(previous, head)
        head = _head_of(answer, now, self._rules)
        kept = await self._made(name, answer, head, previous)
        self._save_later(name, head, answer.raw)
        return kept

    async def _made(
        self, name: str, answer: Answer, head: PageHead, previous: Kept[S] | None
    ) -> Kept[S]:
        """The snapshot of an answer: the same as before, if its text is."""
        digest = await _in_thread_if_large(answer, _digest)
        if previous is not None and previous.digest == digest:
            return _confirmed(previous, head)
        try:
            snapshot = await _in_thread_if_large(answer, partial(self._read, name))
        except Malformed as error:
            raise SourceInvalid(self._client.label, str(error)) from error
        freshness = Freshness(validated_at=head.validated_at, lifetime_s=head.lifetime_s)
        snapshot = msgspec.structs.replace(snapshot, freshness=freshness)
        return Kept(snapshot=snapshot, freshness=freshness, head=head, digest=digest)

    async def _loaded(self, name: str, previous: Kept[S] | None = None) -> Kept[S] | None:
        """What is on disk, if that is of any use."""
        found = await self._store.load(name) if self._store else None
        if found is None:
            return None
        head, raw = found
        headers = {"Content-Type": head.content_type}
        try:
            body = await decoded(raw, head.coding, self._max_bytes)
            answer = Answer(status=200, headers=headers, url=head.url, body=body)
            return await self._made(name, answer, head, previous)
        except (Malformed, SourceInvalid):
            return None

    def _save_later(self, name: str, head: PageHead, raw: bytes | None) -> None:
        if self._store is not None:
            self._write_later(name, self._save(self._store, name, head, raw))

    def _write_later(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        before = self._writing.get(name)

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            await work

        task = self._writing[name] = self._later(in_turn())
        task.add_done_callback(lambda done: self._written(name, done))

    def _written(self, name: str, task: asyncio.Task[Any]) -> None:
        if self._writing.get(name) is task:
            del self._writing[name]

    async def _save(self, store: PageStore, name: str, head: PageHead, raw: bytes | None) -> None:
        changed = raw is not None
        if raw is None:
            found = await store.load(name)
            if found is None:
                return
            if (found[0].validators, found[0].url) != (head.validators, head.url):
                # Another process has learned of something else in between: not what is valid now.
                await store.discard(name)
                return
            raw = found[1]
        if not await store.save(name, head, raw) and changed:
            await store.discard(name)  # rather nothing than what is no longer so

    def _remember(self, name: str, kept: Kept[S]) -> None:
        weight = _MISSING_WEIGHT if kept.snapshot is None else kept.snapshot.weight
        self._kept.put(name, kept, weight)

    def _may_serve_stale(self, kept: Kept[S]) -> bool:
        age = self._clock() - kept.freshness.validated_at
        return kept.snapshot is not None and age < self._rules.stale_if_error_s


def _head_of(answer: Answer, now: float, rules: Rules) -> PageHead:
    headers = answer.headers
    asked = (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified"))
    return PageHead(
        url=answer.url,
        content_type=headers.get("Content-Type", ""),
        coding=answer.coding,
        validators={ask: headers[given] for ask, given in asked if given in headers},
        validated_at=now,
        lifetime_s=lifetime_s(headers),
        grace_s=grace_s(headers, most=rules.grace_s),
    )


def _confirmed(kept: Kept[S], head: PageHead) -> Kept[S]:
    """The same snapshot, confirmed: whoever holds it sees that."""
    live = kept.freshness
    live.validated_at, live.lifetime_s = head.validated_at, head.lifetime_s
    live.stale_because = None
    kept.head = head
    kept.retry_at = 0.0
    return kept


async def _in_thread_if_large(answer: Answer, work: Callable[[Answer], R]) -> R:
    if len(answer.body) > _READ_HERE_BYTES:
        return await asyncio.to_thread(work, answer)
    return work(answer)


def _digest(answer: Answer) -> bytes:
    said = f"{answer.url}\n{answer.headers.get('Content-Type', '')}\n"
    digest = hashlib.sha256(said.encode())
    digest.update(answer.body)
    return digest.digest()
