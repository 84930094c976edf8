"""From an answer of an index to a cache entry; the same snapshot again if its text is the same."""

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import msgspec

from simple_repository_server.cache.background import unforeseen
from simple_repository_server.cache.freshness import lifetime_s, stale_while_revalidate_s
from simple_repository_server.cache.policy import CacheEntry, CachePolicy
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.errors import Malformed, RepositoryError, SourceInvalid
from simple_repository_server.model import Freshness, ProjectList, ProjectPage
from simple_repository_server.observe.events import Emit
from simple_repository_server.upstream.client import Answer, decoded

S = TypeVar("S", ProjectPage, ProjectList)
R = TypeVar("R")

#: Larger pages are read in a thread.
_READ_HERE_BYTES = 8_000


class AnswerReader(Generic[S]):
    """Reads what the index called `label` answers, by `read`.

    Whatever goes wrong in that is `SourceInvalid`, and told to `emit` if nobody thought of it.
    """

    def __init__(
        self, label: str, read: Callable[[str, Answer], S], *, max_bytes: int, emit: Emit
    ) -> None:
        self.max_bytes = max_bytes
        self._label = label
        self._read: Callable[[str, Answer], S] = read
        self._emit = emit

    async def entry(
        self, name: str, answer: Answer, head: PageHead, previous: CacheEntry[S] | None
    ) -> CacheEntry[S]:
        """The entry for an answer: with the snapshot as before, if its text is. Raises as said."""
        digest = await _in_thread_if_large(answer, _digest)
        if previous is not None and previous.digest == digest:
            return confirmed(previous, head)
        try:
            snapshot = await _in_thread_if_large(answer, partial(self._read, name))
        except Malformed as error:
            raise SourceInvalid(self._label, str(error)) from error
        freshness = Freshness(validated_at=head.validated_at, lifetime_s=head.lifetime_s)
        snapshot = msgspec.structs.replace(snapshot, freshness=freshness)
        return CacheEntry(snapshot=snapshot, freshness=freshness, head=head, digest=digest)

    async def stored(
        self, name: str, url: str, head: PageHead, raw: bytes, previous: CacheEntry[S] | None
    ) -> CacheEntry[S] | None:
        """The entry for what is on disk of the page at `url`, or None if that is of no use."""
        if head.missing:
            return missing_entry(head)
        if head.refused:
            return None
        headers = {"Content-Type": head.content_type}
        try:
            body = await decoded(raw, head.coding, self.max_bytes)
            answer = Answer(status=200, headers=headers, url=head.url or url, body=body)
            return await self.entry(name, answer, head, previous)
        except (Malformed, SourceInvalid):
            return None
        except Exception as error:  # noqa: BLE001  # as good as damaged
            self.unforeseen(error)
            return None

    def unforeseen(self, error: Exception) -> SourceInvalid:
        """What to raise for an exception nobody thought of, which is told."""
        if not isinstance(error, RepositoryError):
            self._emit(unforeseen(f"the answer of {self._label} could not be read", error))
        return SourceInvalid(self._label, "its answer cannot be read")


def missing_entry(head: PageHead) -> CacheEntry[S]:
    """The entry for "there is no such thing"."""
    freshness = Freshness(validated_at=head.validated_at)
    return CacheEntry(snapshot=None, freshness=freshness, head=head)


def head_of(answer: Answer, url: str, now: float, policy: CachePolicy) -> PageHead:
    """What came with the page at `url`."""
    headers = answer.headers
    asked = (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified"))
    return PageHead(
        # Not the address of the page itself, which may have a secret in it.
        url="" if answer.url == url else answer.url,
        content_type=headers.get("Content-Type", ""),
        coding=answer.coding,
        validators={ask: headers[given] for ask, given in asked if given in headers},
        validated_at=now,
        lifetime_s=lifetime_s(headers),
        stale_while_revalidate_s=stale_while_revalidate_s(
            headers, most=policy.stale_while_revalidate_s
        ),
    )


def confirmed(entry: CacheEntry[S], head: PageHead) -> CacheEntry[S]:
    """The same snapshot, confirmed: whoever holds it sees that."""
    live = entry.freshness
    live.validated_at, live.lifetime_s = head.validated_at, head.lifetime_s
    live.stale_reason = None
    entry.head = head
    entry.failed_at = None
    return entry


async def _in_thread_if_large(answer: Answer, work: Callable[[Answer], R]) -> R:
    if len(answer.body) > _READ_HERE_BYTES:
        return await asyncio.to_thread(work, answer)
    return work(answer)


def _digest(answer: Answer) -> bytes:
    said = f"{answer.url}\n{answer.headers.get('Content-Type', '')}\n"
    digest = hashlib.sha256(said.encode("utf-8", "surrogatepass"))
    digest.update(answer.body)
    return digest.digest()
