"""Core metadata on disk, by the wheel it was found in: found once, known for good."""

import hashlib

import msgspec

from simple_repository_server.cache.disk import DiskCache


class MetadataHead(msgspec.Struct, kw_only=True):
    """What was found out about a wheel."""

    #: Why its metadata cannot be read; empty if the entry's body is just that.
    unreadable: str = ""


class MetadataStore:
    """Metadata on `disk` by project and `wheel`: a text that says which wheel, digest and all.

    An asynchronous context manager, which enters the disk.
    """

    def __init__(self, disk: DiskCache) -> None:
        self._disk = disk
        self._entries = disk.entries("metadata", MetadataHead)

    async def load(self, project: str, wheel: str) -> tuple[MetadataHead, bytes] | None:
        """What is known, or None."""
        return await self._disk.run(self._entries.load, project, note_of(wheel))

    async def save(self, project: str, wheel: str, content: bytes, *, unreadable: str = "") -> None:
        """Keep it, if the disk lets us."""
        head = MetadataHead(unreadable=unreadable)
        await self._disk.write(self._entries.save, head, content, project, note_of(wheel))

    async def notes(self, project: str) -> dict[str, str]:
        """The sha256 of all metadata known of the project, by `note_of` of the wheel.

        Empty for a wheel whose metadata cannot be read.
        """
        return await self._disk.run(self._notes, project)

    def _notes(self, project: str) -> dict[str, str]:
        found = {key[-1]: self._entries.describe(*key) for key in self._entries.keys(project)}
        return {
            name: "" if described[0].unreadable else described[1]
            for name, described in found.items()
            if described is not None
        }

    async def __aenter__(self) -> "MetadataStore":
        await self._disk.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._disk.__aexit__()


def note_of(wheel: str) -> str:
    """The name by which `MetadataStore.notes` has the wheel."""
    return hashlib.sha256(wheel.encode("utf-8", "surrogatepass")).hexdigest()[:40]
