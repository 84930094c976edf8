"""Documents as cache entries: parsed from what an index sent, or from what is on disk."""

import asyncio
import hashlib
from typing import Generic, TypeVar

import msgspec

from simple_repository_server.cache.fetcher import Fetcher
from simple_repository_server.cache.page_writer import PageWriter
from simple_repository_server.cache.policy import CacheEntry
from simple_repository_server.disk.page_store import PageHead, PageStore
from simple_repository_server.errors import RepositoryError
from simple_repository_server.freshness import Freshness
from simple_repository_server.model import ProjectList, ProjectPage

S = TypeVar("S", ProjectPage, ProjectList)

#: Larger documents are parsed in a thread.
_PARSE_HERE_BYTES = 8_000


class StoredDocuments(Generic[S]):
    """The documents that `fetcher` parses, in `store`, which `writer` writes to.

    Without a store nothing is found, and nothing is written.
    """

    def __init__(
        self, fetcher: Fetcher[S], *, store: PageStore | None, writer: PageWriter | None
    ) -> None:
        self._fetcher: Fetcher[S] = fetcher
        self._store = store
        self._writer = writer

    async def head(self, name: str) -> PageHead | None:
        """What any process stored last under that name, without the body; or None."""
        return None if self._store is None else await self._store.head(name)

    async def load(self, name: str, previous: CacheEntry[S] | None = None) -> CacheEntry[S] | None:
        """The entry; None if there is none, or it is corrupt, or a refusal."""
        if self._store is None:
            return None
        if self._writer is not None:
            await self._writer.settled(name)
        found = await self._store.load(name)
        if found is None or found[0].refused:
            return None
        head, raw = found
        if head.missing:
            return CacheEntry(snapshot=None, head=head)
        try:
            body = await self._fetcher.decode(head, raw)
            return await self.parse(name, head, body, previous)
        except RepositoryError:
            pass
        except Exception as error:  # noqa: BLE001 - a defect costs a request, not the page
            self._fetcher.unexpected(error)
        return None

    def save(self, name: str, head: PageHead, raw: bytes = b"") -> None:
        """Replace what is stored, in the background."""
        if self._writer is not None:
            self._writer.save(name, head, raw)

    def confirm(self, name: str, head: PageHead) -> None:
        """Give what is stored another head, in the background."""
        if self._writer is not None:
            self._writer.confirm(name, head)

    async def parse(
        self, name: str, head: PageHead, body: bytes, previous: CacheEntry[S] | None
    ) -> CacheEntry[S]:
        """The entry for a decoded body; with the snapshot of `previous`, if the text is the same.

        Raises `Malformed`.
        """

        def work() -> CacheEntry[S]:
            digest = _digest(head, body)
            if previous is not None and previous.digest == digest:
                return confirmed(previous, head)
            snapshot = msgspec.structs.replace(
                self._fetcher.parse(name, head, body),
                freshness=Freshness(validated_at=head.validated_at, lifetime_s=head.lifetime_s),
            )
            return CacheEntry(snapshot=snapshot, head=head, digest=digest)

        return await asyncio.to_thread(work) if len(body) > _PARSE_HERE_BYTES else work()


def confirmed(entry: CacheEntry[S], head: PageHead) -> CacheEntry[S]:
    """An entry with the same snapshot, validated anew."""
    return msgspec.structs.replace(entry, head=head, failed_at=None, stale_reason=None)


def _digest(head: PageHead, body: bytes) -> bytes:
    digest = hashlib.sha256(f"{head.url}\n{head.content_type}\n".encode("utf-8", "surrogatepass"))
    digest.update(body)
    return digest.digest()
