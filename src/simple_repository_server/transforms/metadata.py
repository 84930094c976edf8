"""Core metadata for every wheel, whether or not its source has it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any
from weakref import ref

import msgspec
from typing_extensions import override

from simple_repository_server.cache.change_watch import watch
from simple_repository_server.cache.memory import MemoryCache, part_of
from simple_repository_server.cache.metadata_policy import usable_until
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.cache.snapshots import DerivedSnapshots
from simple_repository_server.disk.layout import wheel_key
from simple_repository_server.disk.metadata_store import MetadataStore
from simple_repository_server.errors import ResourceNotFound
from simple_repository_server.explanation import Explanation
from simple_repository_server.lifecycle import running
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import BytesResource, Resource
from simple_repository_server.transforms.metadata_finding import Found, MetadataFinder, Missing
from simple_repository_server.transforms.metadata_verdicts import (
    Verdict,
    Verdicts,
    announced_files,
    key_of,
)
from simple_repository_server.transforms.wheel_metadata import DOWNLOAD_BYTES, MetadataReader

DEFAULT_MEMORY_BYTES = 32 * 1024 * 1024
#: Of the memory, the part for verdicts: one on each wheel whose metadata was requested.
_VERDICTS_PART = 4
#: and the part for metadata that is being written to disk.
_WRITES_PART = 8
#: What an entry of metadata takes in memory beside its content.
_ENTRY_BYTES = 1500
#: Pages with more files are processed in a thread.
_MAX_FILES_HERE = 2_000

#: The files of a page as they are published, and until when.
_Files = tuple[tuple[File, ...], float | None]


class _Basis(msgspec.Struct, frozen=True):
    """What a published page depends on besides the page of the source."""

    #: Of the verdicts on the project's wheels.
    revision: int
    #: When the first of these verdicts expires; None: never.
    until: float | None


class MetadataInjectorRepository(RepositoryContainer):
    """Announces core metadata for every wheel of `source`, and serves it (PEP 658, PEP 714).

    Metadata that the source announces is fetched from there; other metadata is read out of the
    wheel, from a remote one by range requests. It is cached in `memory_bytes` of memory, and its
    digest announced once known. What was read out of bytes with the wheel's digest never expires,
    and is stored in `store`; anything else expires (see `metadata_finding`). A wheel whose metadata
    cannot be read, or which its source has no more, is not announced any more. If an index does
    not support ranges, wheels of up to `download_bytes` are downloaded for their metadata. Several
    injectors may share one budget, given as `memory`; `write_bytes` bounds what waits to be written
    to disk, by default an eighth of the memory.
    """

    def __init__(
        self,
        source: Repository,
        *,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        memory: MemoryCache[Any, Any] | None = None,
        write_bytes: int | None = None,
        download_bytes: int = DOWNLOAD_BYTES,
        store: MetadataStore | None = None,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(source)
        self._store = store
        self._clock = clock
        self._emit = emit
        reader = MetadataReader(download_bytes)
        if memory is not None:
            memory_bytes = memory.max_bytes
        verdicts_bytes = memory_bytes // _VERDICTS_PART
        write_bytes = memory_bytes // _WRITES_PART if write_bytes is None else write_bytes
        self._finder = MetadataFinder(
            source, reader, store=store, write_bytes=write_bytes, clock=clock, emit=emit
        )
        metadata_bytes = memory_bytes - verdicts_bytes - write_bytes
        self._metadata = part_of(memory, metadata_bytes)
        self._verdicts = Verdicts(verdicts_bytes, memory=memory, clock=clock)
        #: The page of the source, and the one with what is known of its wheels' metadata.
        self._published: DerivedSnapshots[ProjectPage, _Basis] = DerivedSnapshots()
        self._finding: SingleFlight[str, BytesResource] = SingleFlight()
        self._publishing: SingleFlight[tuple[ProjectPage, int], _Files] = SingleFlight()

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        page = await self.source.get_project_page(project, context=context)
        published = self._peek_published(page)
        if published is not None:
            return published
        verdicts = self._verdicts.of(project)
        evicted = verdicts is not None and not verdicts.loaded
        if self._store is not None and (evicted or self._published.get(page) is None):
            await self._load_verdicts(self._store, page)
        return await self._publish(page)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        if not filename.is_metadata:
            return await self.source.get_resource(project, filename, context=context)
        page = await self.source.get_project_page(project, context=context)
        wheel = _wheel_described_by(page, filename)
        if wheel is None:
            return await self.source.get_resource(project, filename, context=context)
        key = key_of(project, wheel)
        known = self._peek_metadata(key)
        if known is not None:
            return known
        verdict = self._verdicts.find(page, key)
        # A client that wants revalidation gets no negative verdict that would expire anyway.
        usable = verdict is not None and not (context.revalidate and verdict.until is not None)
        if verdict is not None and verdict.sha256 is None and usable:
            raise verdict.refusal(page, wheel, self._clock())
        return await self._finding.run(key, partial(self._find_metadata, page, wheel, context))

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        return await self.source.explain(project, version, context=context)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self.source.peek_project_list(context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        page = self.source.peek_project_page(project, context=context)
        return None if page is None else self._peek_published(page)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        if not filename.is_metadata:
            return self.source.peek_resource(project, filename, context=context)
        page = self.source.peek_project_page(project, context=context)
        if page is None:
            return None
        wheel = _wheel_described_by(page, filename)
        if wheel is None:
            return self.source.peek_resource(project, filename, context=context)
        key = key_of(project, wheel)
        known = self._peek_metadata(key)
        if known is None:
            verdict = self._verdicts.find(page, key)
            if verdict is not None and verdict.sha256 is None and verdict.until is None:
                raise ResourceNotFound(project, filename)
        return known

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if self._store is not None:
                await stack.enter_async_context(self._store)
            await stack.enter_async_context(super().lifespan())
            if self._store is not None:
                watching = watch(self._store.changed, self._forget_project, self._emit)
                await stack.enter_async_context(running(watching))
            yield
            await self._finding.cancel_all()
            await self._publishing.cancel_all()
            await self._finder.close()

    def _forget_project(self, project: ProjectName) -> None:
        """Drop what is in memory of its wheels: an operator changed what is on disk."""
        self._verdicts.forget(project)
        self._metadata.discard_if(lambda key: key.startswith(f"{project} "))
        self._published.discard_if(lambda page: page.name == project)

    def _peek_published(self, page: ProjectPage) -> ProjectPage | None:
        """The published page, if nothing was found out about its wheels since."""
        published = self._published.get(page)
        if published is None:
            return None
        basis = published.details
        verdicts = self._verdicts.of(page.name)
        if verdicts is not None and verdicts.revision != basis.revision:
            return None
        if basis.until is not None and self._clock() >= basis.until:
            return None
        return published.of(page)

    async def _publish(self, page: ProjectPage) -> ProjectPage:
        """The page with what is known by now; the same object as before if it says the same."""
        verdicts = self._verdicts.of(page.name)
        revision = 0 if verdicts is None else verdicts.revision
        announce = partial(announced_files, page, verdicts, self._clock())
        if len(page.files) > _MAX_FILES_HERE:
            in_thread = partial(asyncio.to_thread, announce)
            files, until = await self._publishing.run((page, revision), in_thread)
        else:
            files, until = announce()
        earlier = self._published.get(page)
        if all(a is b for a, b in zip(files, page.files, strict=True)):
            published = page
        elif earlier is not None and earlier.changed is not None and earlier.changed.files == files:
            published = earlier.changed
        else:
            published = msgspec.structs.replace(page, files=files)
        self._published.put(page, published, _Basis(revision, until))
        return published

    def _peek_metadata(self, key: str) -> BytesResource | None:
        """The metadata from memory, unless it has expired."""
        found: Found | None = self._metadata.get(key)
        if found is None or (found.until is not None and self._clock() >= found.until):
            return None
        return found.resource

    async def _find_metadata(
        self, page: ProjectPage, file: File, context: RequestContext
    ) -> BytesResource:
        key = key_of(page.name, file)
        before = self._metadata.get(key)
        found = await self._finder.find(page.name, file, key, before=before, context=context)
        if isinstance(found, Missing):
            # A temporary failure says nothing about the next version of the page.
            about = None if found.until is None else ref(page)
            verdict = Verdict(
                reason=found.reason, absent=found.absent, until=found.until, page=about
            )
            self._metadata.discard(key)
            self._verdicts.add(page.name, key, verdict)
            raise verdict.refusal(page, file, self._clock())
        self._metadata.put(key, found, len(found.resource.content) + _ENTRY_BYTES)
        self._verdicts.add(page.name, key, Verdict(sha256=found.resource.sha256, until=found.until))
        return found.resource

    async def _load_verdicts(self, store: MetadataStore, page: ProjectPage) -> None:
        """Load what is on disk about the wheels of a page that is new, or was evicted."""
        entries = await store.digests(page.name)
        now = self._clock()
        for file in page.files if entries else ():
            key = key_of(page.name, file)
            head, digest = entries.get(wheel_key(key), (None, "")) if file.is_wheel else (None, "")
            until = usable_until(head) if head is not None else 0.0
            if head is None or (until is not None and until <= now):
                continue
            reason = head.unreadable
            self._verdicts.add(
                page.name,
                key,
                Verdict(sha256=None if reason else digest, reason=reason, absent=True, until=until),
            )
        verdicts = self._verdicts.of(page.name)
        if verdicts is not None:
            verdicts.loaded = True


def _wheel_described_by(page: ProjectPage, filename: FileName) -> File | None:
    """The wheel whose metadata has that name; None if only the source can tell."""
    file = page.find(filename.distribution)
    if file is None or not file.is_wheel or file.inspected or page.find(filename) is not None:
        return None
    return file
