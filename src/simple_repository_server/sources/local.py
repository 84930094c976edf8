"""A directory of distribution files as a repository."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
from typing_extensions import override

from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.distributions.filenames import versions_of
from simple_repository_server.distributions.metadata import read_local_metadata
from simple_repository_server.errors import (
    Malformed,
    ProjectNotFound,
    ResourceNotFound,
    SourceTimeout,
    SourceUnavailable,
)
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
    SourceState,
)
from simple_repository_server.names import FileName, ProjectName, sorted_unique
from simple_repository_server.observe.events import (
    Emit,
    FileSkipped,
    SourceFailed,
    SourceRecovered,
    ignore,
)
from simple_repository_server.repository import Repository
from simple_repository_server.resource import METADATA_TYPE, BytesResource, PathResource, Resource
from simple_repository_server.sources.local_inspector import Inspector, identities
from simple_repository_server.sources.local_tree import Found, Listing, LocalTree
from simple_repository_server.storage.digests import DigestStore, Facts, FileIdentity

DEFAULT_MEMORY_BYTES = 128 * 1024 * 1024
#: How old a look at the directory may be: changes are seen within a second.
_LOOK_AGAIN_S = 0.5
#: A wheel that cannot be read and is this young is still being written: it is not listed yet.
_SETTLED_S = 10.0
#: How long a page waits for the digests of its files.
_DEADLINE_S = 55.0
#: What one file takes beside its page: which one it is, and a resource; and what metadata takes.
_RESOURCE_BYTES, _METADATA_BYTES = 1300, 1500
#: Of the memory, the part for metadata.
_FOR_METADATA = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Kept(msgspec.Struct):
    """A page, the files it is of (by path), and when these were last looked at."""

    page: ProjectPage
    files: Mapping[str, FileIdentity]
    #: A file is still being written, so the page is to be made again.
    settled: bool
    looked_at: float
    #: Those of the files that were asked for.
    resources: dict[FileName, PathResource] = msgspec.field(default_factory=dict)

    def resource(self, filename: FileName) -> PathResource:
        """The file of that name, the same object each time. Raises `ResourceNotFound`."""
        known = self.resources.get(filename)
        if known is None:
            file = self.page.find(filename)
            if file is None:
                raise ResourceNotFound(self.page.name, filename)
            identity = self.files[file.url]
            known = self.resources[filename] = PathResource(
                Path(file.url),
                size=identity.size,
                mtime_ns=identity.mtime_ns,
                inode=identity.inode,
                sha256=file.hashes["sha256"],
            )
        return known

    def metadata_of(self, filename: FileName) -> tuple[File, str]:
        """The file whose metadata is called that, and the sha256 of it, or `ResourceNotFound`."""
        file = self.page.find(filename.described)
        if file is None or isinstance(file.core_metadata, bool):
            raise ResourceNotFound(self.page.name, filename)
        return file, file.core_metadata["sha256"]


class LocalRepository(Repository):
    """The wheels, sdists and eggs below the directory `path`.

    Files may lie in `<project>/` folders, flat, or in any tree: the project comes from the file
    name. Changes are seen within a second. `digests` remembers across restarts what was read out
    of the files, and is opened and closed with the repository.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        digests: DigestStore | None = None,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        self.label = str(path)
        self._clock = clock
        self._emit = emit
        self._inspector = Inspector(digests or DigestStore(emit=emit), label=self.label, emit=emit)
        self._tree = LocalTree(Path(path))
        self._listing = Listing({})
        self._looked_at = float("-inf")
        self._problem: SourceUnavailable | None = None
        self._list = ProjectList(names=())
        self._pages: MemoryCache[ProjectName, _Kept] = MemoryCache(
            memory_bytes - memory_bytes // _FOR_METADATA
        )
        self._metadata: MemoryCache[str, BytesResource] = MemoryCache(memory_bytes // _FOR_METADATA)
        self._looking: SingleFlight[str, None] = SingleFlight()
        self._making: SingleFlight[ProjectName, _Kept] = SingleFlight()
        self._warm_up: asyncio.Task[None] | None = None

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        await self._look()
        return self._list

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        return (await self._kept(project)).page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        kept = await self._kept(project)
        if not filename.is_metadata:
            return kept.resource(filename)
        file, sha256 = kept.metadata_of(filename)
        return self._metadata.get(sha256) or await self._read_metadata(file, sha256)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return None if self._peek_listing() is None else self._list

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        kept = self._peek_kept(project)
        return None if kept is None else kept.page

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        kept = self._peek_kept(project)
        if kept is None:
            return None
        if not filename.is_metadata:
            return kept.resource(filename)
        return self._metadata.get(kept.metadata_of(filename)[1])

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        detail = self._problem.reason if self._problem else _unreadable(self._listing)
        available = self._problem is None if self._looked_at > 0 else None
        state = SourceState(label=self.label, kind="directory", available=available, detail=detail)
        return (state,)

    @override
    async def _open(self) -> None:
        await self._inspector.open()
        self._warm_up = asyncio.create_task(self._inspect_all())

    @override
    async def _close(self) -> None:
        if self._warm_up is not None:
            self._warm_up.cancel()
            await asyncio.gather(self._warm_up, return_exceptions=True)
        await self._making.cancel_all()
        await self._looking.cancel_all()
        await self._inspector.close()

    async def _inspect_all(self) -> None:
        """Compute digests ahead of the first requests, which do not wait for all of it."""
        try:
            await self._look()
        except SourceUnavailable:
            return
        paths = [found.path for files in self._listing.files.values() for found in files]
        await self._inspector.inspect_all(await asyncio.to_thread(identities, paths))

    # --- what lies there -------------------------------------------------------------------------

    def _peek_listing(self) -> Listing | None:
        """What lay there just now; None if it is to be looked at again, or cannot be."""
        known = self._problem is None and self._is_recent(self._looked_at)
        return self._listing if known else None

    def _is_recent(self, looked_at: float) -> bool:
        return 0 <= self._clock() - looked_at < _LOOK_AGAIN_S

    async def _look(self) -> Listing:
        if not self._is_recent(self._looked_at):
            await self._looking.run("", self._look_now)
        if self._problem is not None:
            raise SourceUnavailable(self.label, self._problem.reason)
        return self._listing

    async def _look_now(self) -> None:
        try:
            listing = await asyncio.to_thread(self._tree.look)
        except OSError as error:
            reason = f"the directory cannot be read ({(error.strerror or 'error').lower()})"
            if self._problem is None:
                self._emit(SourceFailed(source=self.label, reason=reason))
            self._problem = SourceUnavailable(self.label, reason)
        else:
            if self._problem is not None:
                self._emit(SourceRecovered(source=self.label))
            self._problem = None
            if listing is not self._listing:
                self._tell_skipped(listing)
                for project in self._listing.files.keys() - listing.files.keys():
                    self._pages.discard(project)
                self._list = ProjectList(names=sorted_unique(listing.files))
                self._listing = listing
        self._looked_at = self._clock()

    def _tell_skipped(self, listing: Listing) -> None:
        skipped = [*listing.skipped, *((folder, _CANNOT_READ) for folder in listing.unreadable)]
        before = {*self._listing.skipped, *((f, _CANNOT_READ) for f in self._listing.unreadable)}
        for path, reason in skipped:
            if (path, reason) not in before:
                self._emit(FileSkipped(source=self.label, file=path, reason=reason))

    # --- a page ----------------------------------------------------------------------------------

    def _peek_kept(self, project: ProjectName) -> _Kept | None:
        """The page that was looked at just now, or None. Raises `ProjectNotFound` if certain."""
        kept = self._pages.get(project)
        if kept is not None and self._is_recent(kept.looked_at):
            return kept
        listing = self._peek_listing()
        if listing is not None and not listing.unreadable and project not in listing.files:
            raise ProjectNotFound(project)
        return None

    async def _kept(self, project: ProjectName) -> _Kept:
        kept = self._peek_kept(project)
        if kept is not None:
            return kept
        listing = await self._look()
        found = listing.files.get(project)
        if found is None:
            if listing.unreadable:
                # It may be in there, and looking elsewhere would give its name away.
                raise SourceUnavailable(self.label, _unreadable(listing))
            raise ProjectNotFound(project)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                return await self._making.run(project, partial(self._make, project, found))
        except TimeoutError as error:
            reason = f"the digests of {project} are still being computed"
            raise SourceTimeout(self.label, reason) from error

    async def _make(self, project: ProjectName, found: tuple[Found, ...]) -> _Kept:
        now = self._clock()
        files = await asyncio.to_thread(identities, [one.path for one in found])
        kept = self._pages.get(project)
        if kept is None or not kept.settled or kept.files != files:
            facts = await self._inspector.facts(files)
            made = _page(project, found, files, facts, now)
            if kept is not None and kept.page.files == made.page.files:
                made.page = kept.page
            kept = made
            self._pages.put(project, kept, kept.page.weight + _RESOURCE_BYTES * len(files))
        kept.looked_at = now
        return kept

    async def _read_metadata(self, file: File, sha256: str) -> Resource:
        try:
            content = await asyncio.to_thread(read_local_metadata, Path(file.url)) or b""
        except (OSError, Malformed) as error:
            reason = f"{file.filename} was just replaced or removed"
            raise SourceUnavailable(self.label, reason) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise SourceUnavailable(self.label, f"{file.filename} was just replaced")
        resource = BytesResource(content, media_type=METADATA_TYPE, sha256=sha256)
        self._metadata.put(sha256, resource, len(content) + _METADATA_BYTES)
        return resource


_CANNOT_READ = "it cannot be read; make it readable or move it out"


def _unreadable(listing: Listing) -> str:
    if not listing.unreadable:
        return ""
    return f"the folder {listing.unreadable[0]} cannot be read; make it readable or move it out"


def _page(
    project: ProjectName,
    found: tuple[Found, ...],
    identities: Mapping[str, FileIdentity],
    facts: Mapping[str, Facts],
    now: float,
) -> _Kept:
    files: list[File] = []
    settled = True
    for one in found:
        identity, known = identities.get(one.path), facts.get(one.path)
        if identity is None or known is None or _is_being_written(identity, known, now):
            settled = False
        else:
            files.append(_file(one, identity, known))
    page = ProjectPage(
        name=project,
        files=tuple(files),
        versions=versions_of((file.filename for file in files), project),
    )
    return _Kept(page, identities, settled, now)


def _is_being_written(identity: FileIdentity, facts: Facts, now: float) -> bool:
    return facts.problem is not None and now - identity.mtime_ns / 1e9 < _SETTLED_S


def _file(found: Found, identity: FileIdentity, facts: Facts) -> File:
    return File(
        filename=found.filename,
        url=found.path,
        hashes={"sha256": facts.sha256},
        size=identity.size,
        upload_time=_EPOCH + timedelta(microseconds=identity.mtime_ns // 1000),
        requires_python=facts.requires_python,
        core_metadata={"sha256": facts.metadata_sha256} if facts.metadata_sha256 else False,
    )
