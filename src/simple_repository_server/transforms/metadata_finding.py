"""Finding the metadata of a wheel: on disk, at its source, or in the wheel."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from hashlib import new as hasher
from hashlib import sha256

import msgspec

from simple_repository_server.cache.background import Background
from simple_repository_server.cache.metadata_policy import UNPROVEN_TTL_S, usable_until
from simple_repository_server.disk.metadata_store import MetadataEntry, MetadataStore
from simple_repository_server.distributions.metadata import describes
from simple_repository_server.errors import (
    Malformed,
    ResourceNotFound,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.model import File, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Emit, MetadataUnreadable
from simple_repository_server.repository import Repository
from simple_repository_server.resource import METADATA_TYPE, BytesResource
from simple_repository_server.transforms.wheel_metadata import (
    MetadataReader,
    Reading,
    TooLarge,
    Unproven,
    read_whole,
    version_of,
)

#: How long metadata that is unavailable or missing is not requested again.
PASSING_S = 120.0
#: How long the metadata of a wheel without a digest is used before the wheel is revalidated.
CONFIRM_S = 60.0
_MAX_SIBLING_BYTES = 20 * 1024 * 1024
#: What a write in flight takes in memory beside its content.
_WRITE_BYTES = 4000


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata, ready to be sent, and when it expires (None: never)."""

    resource: BytesResource
    until: float | None
    #: The version of the wheel it was read from, if that has no digest.
    version: str | None = None


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """There is no metadata, or it is unavailable."""

    reason: str
    #: When to look again; None: never, as it was proven that there is none.
    until: float | None
    #: It is certain that there is none, even if only for now.
    absent: bool


class MetadataFinder:
    """Finds the metadata of the wheels of `source`, and stores on disk what may be reused.

    Nobody waits for the writes. At most `write_bytes` (or one entry) are in flight: what a slow
    disk does not take in time is not stored, and read again after a restart.
    """

    def __init__(
        self,
        source: Repository,
        reader: MetadataReader,
        *,
        store: MetadataStore | None,
        write_bytes: int,
        clock: Callable[[], float] = time.time,
        emit: Emit,
    ) -> None:
        self._source = source
        self._reader = reader
        self._store = store
        self._write_bytes = write_bytes
        #: The bytes of all writes in flight.
        self._writing = 0
        self._clock = clock
        self._emit = emit
        self._background = Background(emit)

    async def close(self) -> None:
        """Wait, for a bounded time, until what was found is stored."""
        await self._background.close()

    async def find(
        self,
        project: ProjectName,
        file: File,
        key: str,
        *,
        before: Found | None,
        context: RequestContext,
    ) -> Found | Missing:
        """The current metadata; `before` is what was found earlier and has expired.

        Raises `SourceUnavailable` if the source cannot answer and there is nothing stale to serve,
        or if it refuses access.
        """
        known = await self._load(project, key)
        if isinstance(known, Missing) or (known is not None and self._is_fresh(known)):
            return known
        before = before or known
        try:
            return await self._revalidate(project, file, key, before=before, context=context)
        except SourceUnavailable as error:
            if before is None or error.refused:
                raise
            return self._extended(before, PASSING_S)

    async def _revalidate(
        self,
        project: ProjectName,
        file: File,
        key: str,
        *,
        before: Found | None,
        context: RequestContext,
    ) -> Found | Missing:
        try:
            if before is not None and await self._is_confirmed(project, file, before, context):
                return self._extended(before, CONFIRM_S)
            reading = await self._read(project, file, context)
        except Malformed as error:
            return await self._unreadable(project, file, key, str(error) or "it is malformed")
        except (ResourceNotFound, TooLarge) as error:
            return self._missing(project, file, str(error), absent=True)
        except Unproven as error:
            if before is not None and file.hashes:
                return self._extended(before, PASSING_S)
            return self._missing(project, file, str(error), absent=False)
        return self._stored_reading(project, file, key, reading)

    async def _load(self, project: ProjectName, key: str) -> Found | Missing | None:
        stored = await self._store.load(project, key) if self._store else None
        if stored is None:
            return None
        head, content = stored
        until = usable_until(head)
        if not head.unreadable:
            return _as_found(content, until)
        return (
            None if until is not None else Missing(reason=head.unreadable, until=None, absent=True)
        )

    def _is_fresh(self, found: Found) -> bool:
        return found.until is None or self._clock() < found.until

    def _extended(self, found: Found, seconds: float) -> Found:
        return msgspec.structs.replace(found, until=self._clock() + seconds)

    async def _is_confirmed(
        self, project: ProjectName, file: File, before: Found, context: RequestContext
    ) -> bool:
        """Whether a wheel without a digest is still the one that its metadata was read from."""
        if file.hashes or before.version is None:
            return False
        wheel = await self._source.get_resource(project, file.filename, context=context)
        return version_of(await wheel.with_size()) == before.version

    async def _read(self, project: ProjectName, file: File, context: RequestContext) -> Reading:
        sibling = await self._sibling(project, file, context)
        if sibling is not None:
            return sibling
        wheel = await self._source.get_resource(project, file.filename, context=context)
        try:
            return await self._reader.read(wheel, file)
        except TransferAborted as error:
            raise SourceUnavailable(f"of {file.filename}", str(error)) from error

    async def _sibling(
        self, project: ProjectName, file: File, context: RequestContext
    ) -> Reading | None:
        """The metadata that the source announces; None if that is unavailable or wrong."""
        announced = file.core_metadata
        if not announced:
            return None
        name = FileName(f"{file.filename}.metadata")
        try:
            resource = await self._source.get_resource(project, name, context=context)
            content = await read_whole(resource, _MAX_SIBLING_BYTES)
        except (ResourceNotFound, SourceUnavailable, TransferAborted, Malformed):
            return None  # it may still be read out of the wheel
        if isinstance(announced, bool):
            return Reading(content, proven=False) if describes(content, file.filename) else None
        algorithm, digest = next(iter(announced.items()))
        found = hasher(algorithm, content, usedforsecurity=False).hexdigest()
        return Reading(content, proven=True) if found == digest else None

    def _stored_reading(
        self, project: ProjectName, file: File, key: str, reading: Reading
    ) -> Found:
        now = self._clock()
        if self._store is not None and (reading.proven or file.hashes):
            head = MetadataEntry(proven=reading.proven, read_at=now)
            size = len(reading.content) + _WRITE_BYTES
            if not self._writing or self._writing + size <= self._write_bytes:
                self._writing += size
                save = self._store.save(project, key, head, reading.content)
                self._background.start(save).add_done_callback(partial(self._written, size))
        seconds = UNPROVEN_TTL_S if file.hashes else CONFIRM_S
        until = None if reading.proven else now + seconds
        may_change = until is not None and not file.hashes
        return _as_found(reading.content, until, reading.version, may_change=may_change)

    def _written(self, size: int, _: asyncio.Task[None]) -> None:
        self._writing -= size

    async def _unreadable(self, project: ProjectName, file: File, key: str, reason: str) -> Missing:
        self._report(project, file, reason)
        if self._store is not None:
            head = MetadataEntry(unreadable=reason, proven=True, read_at=self._clock())
            await self._store.save(project, key, head, b"")
        return Missing(reason=reason, until=None, absent=True)

    def _missing(self, project: ProjectName, file: File, reason: str, *, absent: bool) -> Missing:
        """There is none, or it is unavailable, for a while."""
        self._report(project, file, reason)
        return Missing(reason=reason, until=self._clock() + PASSING_S, absent=absent)

    def _report(self, project: ProjectName, file: File, reason: str) -> None:
        self._emit(MetadataUnreadable(project=project, file=file.filename, reason=reason))


def _as_found(
    content: bytes, until: float | None, version: str | None = None, *, may_change: bool = False
) -> Found:
    resource = BytesResource(
        content,
        media_type=METADATA_TYPE,
        sha256=sha256(content).hexdigest(),
        may_change=may_change,
    )
    return Found(resource=resource, until=until, version=version)
