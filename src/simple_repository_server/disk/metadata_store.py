"""Core metadata on disk, by the wheel it was found in.

What was read out of bytes whose digest was checked is good for ever. What was read by ranges out of
a larger wheel may have been another file's: it is read again after `PLAUSIBLE_S`.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from typing_extensions import override

from simple_repository_server.disk.changes import Changes
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.ownership import CHANGES
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.names import ProjectName

#: For how long metadata counts that was read out of bytes which were not checked as a whole.
PLAUSIBLE_S = 24 * 3600.0


class MetadataEntry(msgspec.Struct, kw_only=True):
    """What was found out about a wheel."""

    #: Why its metadata cannot be read; empty if the entry's body is just that.
    unreadable: str = ""
    #: The bytes it was read from had the digest they should have.
    proven: bool = False
    #: In seconds since the epoch.
    read_at: float = 0.0

    def holds_until(self) -> float | None:
        """When it is to be read again; None: never."""
        if self.proven:
            return None
        # Nothing that is not there was ever a reason to keep that.
        return 0.0 if self.unreadable else self.read_at + PLAUSIBLE_S


class MetadataStore(SharedLifespan):
    """Metadata on `disk` by project and `wheel`: a text that says which wheel, digest and all.

    An asynchronous context manager, which enters the disk.
    """

    def __init__(self, disk: CacheFolder) -> None:
        self._disk = disk
        self._entries = disk.entries("metadata", MetadataEntry)
        self._changes = Changes(disk.folder / CHANGES)

    async def load(self, project: str, wheel: str) -> tuple[MetadataEntry, bytes] | None:
        """What is known, or None."""
        return await self._disk.run(self._entries.load, project, note_of(wheel))

    async def save(self, project: str, wheel: str, head: MetadataEntry, content: bytes) -> None:
        """Keep it, if the disk lets us."""
        await self._disk.write(self._entries.save, head, content, project, note_of(wheel))

    async def notes(self, project: str) -> dict[str, tuple[MetadataEntry, str]]:
        """What is known of the project's wheels, by `note_of`: with the sha256 of the metadata."""
        return await self._disk.run(self._notes, project)

    async def changed(self) -> frozenset[ProjectName]:
        """The projects that were refreshed or forgotten by hand since this was asked last."""
        return await self._disk.run(self._changes.new)

    def _notes(self, project: str) -> dict[str, tuple[MetadataEntry, str]]:
        found = {key[-1]: self._entries.describe(*key) for key in self._entries.keys(project)}
        return {name: described for name, described in found.items() if described is not None}

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._disk:
            yield


def note_of(wheel: str) -> str:
    """The name by which `MetadataStore.notes` has the wheel."""
    return hashlib.sha256(wheel.encode("utf-8", "surrogatepass")).hexdigest()[:40]
