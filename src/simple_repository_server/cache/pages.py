"""Upstream pages and lists on disk, as they came, with what is needed to ask for them again."""

import hashlib

import msgspec

from simple_repository_server.cache.disk import DiskCache


class PageHead(msgspec.Struct, kw_only=True):
    """What came with a page."""

    url: str
    content_type: str
    coding: str
    #: Request headers that ask whether it is still the same.
    validators: dict[str, str]
    #: In seconds since the epoch, and in seconds.
    validated_at: float
    lifetime_s: float
    grace_s: float


class PageStore:
    """The pages of one source on `disk`; `identity` says which: its address, and who asks."""

    def __init__(self, disk: DiskCache, identity: str) -> None:
        self._disk = disk
        self._entries = disk.entries("pages", PageHead)
        self._source = hashlib.sha256(identity.encode()).hexdigest()[:32]

    async def load(self, name: str) -> tuple[PageHead, bytes] | None:
        """The page, still coded, or None."""
        return await self._disk.run(self._entries.load, self._source, name)

    async def head(self, name: str) -> PageHead | None:
        """What came with the page, or None."""
        return await self._disk.run(self._entries.load_head, self._source, name)

    async def save(self, name: str, head: PageHead, body: bytes) -> bool:
        """Keep the page; False if the disk does not let us."""
        return await self._disk.write(self._entries.save, head, body, self._source, name)

    async def discard(self, name: str) -> None:
        """Forget the page: its index has it no more."""
        await self._disk.run(self._entries.discard, self._source, name)

    async def names(self) -> list[str]:
        """The names of all pages kept."""
        return await self._disk.run(self._names)

    def _names(self) -> list[str]:
        return [key[1] for key in self._entries.keys(self._source) if len(key) == 2]  # noqa: PLR2004

    async def __aenter__(self) -> "PageStore":
        await self._disk.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._disk.__aexit__()
