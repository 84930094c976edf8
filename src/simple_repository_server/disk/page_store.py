"""What an index said of its pages and its list, on disk, with what is needed to ask again.

There is one entry for each name: the page as it came, or a note that there is none, or that the
index refused to show it. Whatever was said last takes the place of what was said before.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from typing_extensions import override

from simple_repository_server.disk.changes import Changes
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.ownership import CHANGES
from simple_repository_server.disk.secret_key import fingerprint, folder_key
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.names import ProjectName


class PageHead(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came with a page; of a note, when it was written."""

    #: Where it was redirected to; empty if it was not.
    url: str = ""
    content_type: str = ""
    coding: str = ""
    #: Request headers that ask whether it is still the same.
    validators: dict[str, str] = {}
    #: In seconds since the epoch, and in seconds.
    validated_at: float
    lifetime_s: float = 0.0
    stale_while_revalidate_s: float = 0.0
    #: Of a note: there is no such thing, we may not see it, or we may again.
    note: Literal["missing", "refused", "answered"] | None = None
    #: Why we may not.
    reason: str = ""
    #: Marked by hand: ask before it is served again.
    expired: bool = False

    @property
    def missing(self) -> bool:
        """Whether the index said that there is no such thing."""
        return self.note == "missing"

    @property
    def refused(self) -> bool:
        """Whether the index refused to say anything."""
        return self.note == "refused"


class PageStore(SharedLifespan):
    """The pages of the index at `address` on `disk`, as they are shown to whoever has the `secret`.

    The secret is told apart from others by a digest that is worth nothing without the key in the
    folder. An asynchronous context manager, which enters the disk.
    """

    def __init__(self, disk: CacheFolder, address: str, *, secret: bytes = b"") -> None:
        self._disk = disk
        self._entries = disk.entries("pages", PageHead)
        self._address = address
        self._secret = secret
        #: Tells apart who asks; empty for everybody.
        self.who = ""
        self._source = ""
        self._changes = Changes(disk.folder / CHANGES)

    async def load(self, name: str) -> tuple[PageHead, bytes] | None:
        """The page, still coded, or None."""
        return await self._disk.run(self._entries.load, self._source, name)

    async def head(self, name: str) -> PageHead | None:
        """What came with the page, or None."""
        return await self._disk.run(self._entries.load_head, self._source, name)

    async def save(self, name: str, head: PageHead, body: bytes = b"") -> bool:
        """Keep the page, or the note; False if the disk does not let us."""
        return await self._disk.write(self._entries.save, head, body, self._source, name)

    async def discard(self, name: str) -> None:
        """Forget what was said."""
        await self._disk.run(self._entries.discard, self._source, name)

    async def names(self) -> list[str]:
        """The names of all pages kept."""
        return await self._disk.run(self._names)

    async def changed(self) -> frozenset[ProjectName]:
        """The projects that were refreshed or forgotten by hand since this was asked last."""
        return await self._disk.run(self._changes.new)

    def _names(self) -> list[str]:
        keys = (key for key in self._entries.keys(self._source) if len(key) == 2)  # noqa: PLR2004
        heads = ((key[1], self._entries.load_head(*key)) for key in keys)
        return [name for name, head in heads if head is not None and head.note is None]

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._disk:
            if self._secret:
                self.who = fingerprint(await folder_key(self._disk), self._secret)
            identity = f"{self.who} {self._address}"
            self._source = hashlib.sha256(identity.encode()).hexdigest()[:32]
            yield
