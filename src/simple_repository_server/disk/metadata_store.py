"""Core metadata on disk, by project and wheel. `cache/metadata_policy.py`: for how long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from typing_extensions import override

from simple_repository_server.disk.changes import Changes
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import CHANGES, METADATA, wheel_key
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.names import ProjectName


class MetadataEntry(msgspec.Struct, kw_only=True):
    """How the metadata of a wheel was read; the body of the entry is the metadata itself."""

    #: Why the metadata cannot be read; empty if it can.
    unreadable: str = ""
    #: Whether the bytes it was read from had the wheel's digest.
    proven: bool = False
    #: In seconds since the epoch.
    read_at: float = 0.0


class MetadataStore(SharedLifespan):
    """The metadata stored on `disk`; `wheel` is a text that identifies a wheel, digest and all.

    An asynchronous context manager, which enters the disk.
    """

    def __init__(self, disk: CacheFolder) -> None:
        self._disk = disk
        self._entries = disk.entries(METADATA, MetadataEntry)
        self._changes = Changes(disk.folder / CHANGES)

    async def load(self, project: str, wheel: str) -> tuple[MetadataEntry, bytes] | None:
        """The entry and the metadata of a wheel; None on a miss."""
        return await self._disk.run(self._entries.load, project, wheel_key(wheel))

    async def save(self, project: str, wheel: str, head: MetadataEntry, content: bytes) -> None:
        """Store the metadata of a wheel, if the disk takes it."""
        key = project, wheel_key(wheel)
        await self._disk.write(self._entries.save, head, content, *key)

    async def digests(self, project: str) -> dict[str, tuple[MetadataEntry, str]]:
        """Entries and sha256 of the metadata of all wheels of a project, by `layout.wheel_key`."""
        return await self._disk.run(self._digests, project)

    async def changed(self) -> frozenset[ProjectName]:
        """The projects that were refreshed or forgotten by hand since the last call."""
        return await self._disk.run(self._changes.new)

    def _digests(self, project: str) -> dict[str, tuple[MetadataEntry, str]]:
        found = {key[-1]: self._entries.describe(*key) for key in self._entries.keys(project)}
        return {name: described for name, described in found.items() if described is not None}

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._disk:
            yield
