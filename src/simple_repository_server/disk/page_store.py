"""The pages and the list of an index on disk, with what is needed to revalidate them.

There is one entry for each name: the page as it came, or a negative entry (the index has no such
project), or a refusal (401, 403). The last answer replaces the one before.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from typing_extensions import override

from simple_repository_server.disk.changes import Changes
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import CHANGES, PAGES, index_key
from simple_repository_server.disk.secret_key import fingerprint, folder_key
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.names import ProjectName

#: The index and the project.
_KEY_PARTS = 2


class PageHead(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came with a page; or what the index answered instead of one, and when."""

    #: Where the request was redirected to; empty if it was not.
    url: str = ""
    content_type: str = ""
    #: The content coding of the body.
    coding: str = ""
    #: The request headers that revalidate the page.
    validators: dict[str, str] = {}
    #: In seconds since the epoch, and in seconds.
    validated_at: float
    lifetime_s: float = 0.0
    stale_while_revalidate_s: float = 0.0
    #: What the entry is instead of a page: a negative entry (`missing`), a refusal, or the end of
    #: one (`answered`); None for a page. The field on disk is called `note`.
    marker: Literal["missing", "refused", "answered"] | None = msgspec.field(
        default=None, name="note"
    )
    #: Why the index refused.
    reason: str = ""
    #: Marked by hand: revalidate it before it is served again.
    expired: bool = False

    @property
    def missing(self) -> bool:
        """Whether this is a negative entry: the index has no such project."""
        return self.marker == "missing"

    @property
    def refused(self) -> bool:
        """Whether this is a refusal (401, 403)."""
        return self.marker == "refused"


class PageStore(SharedLifespan):
    """The pages of the index at `address` on `disk`, as the index shows them for the `secret`.

    The secret is part of the key, by a fingerprint that is worth nothing without the key file of
    the folder. An asynchronous context manager, which enters the disk.
    """

    def __init__(self, disk: CacheFolder, address: str, *, secret: bytes = b"") -> None:
        self._disk = disk
        self._entries = disk.entries(PAGES, PageHead)
        self._address = address
        self._secret = secret
        #: The fingerprint of the secret; empty without one.
        self.who = ""
        self._source = ""
        self._changes = Changes(disk.folder / CHANGES)

    async def load(self, name: str) -> tuple[PageHead, bytes] | None:
        """The entry, its body still encoded; None on a miss."""
        return await self._disk.run(self._entries.load, self._source, name)

    async def head(self, name: str) -> PageHead | None:
        """The entry without its body, which is not checked; None on a miss."""
        return await self._disk.run(self._entries.load_head, self._source, name)

    async def save(self, name: str, head: PageHead, body: bytes = b"") -> bool:
        """Store the entry; False if the disk does not take it."""
        return await self._disk.write(self._entries.save, head, body, self._source, name)

    async def discard(self, name: str) -> None:
        """Remove the entry."""
        await self._disk.run(self._entries.discard, self._source, name)

    async def names(self) -> list[str]:
        """The names of all pages: of entries that are neither negative nor refusals."""
        return await self._disk.run(self._names)

    async def changed(self) -> frozenset[ProjectName]:
        """The projects that were refreshed or forgotten by hand since the last call."""
        return await self._disk.run(self._changes.new)

    def _names(self) -> list[str]:
        keys = (key for key in self._entries.keys(self._source) if len(key) == _KEY_PARTS)
        found = ((key[-1], self._entries.describe(*key)) for key in keys)
        return [name for name, entry in found if entry is not None and entry[0].marker is None]

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._disk:
            if self._secret:
                self.who = fingerprint(await folder_key(self._disk), self._secret)
            self._source = index_key(f"{self.who} {self._address}")
            yield
