"""A directory of distribution files as a repository."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from simple_repository_server.cache.memory import Memory, MemoryCache, part_of
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.distributions.metadata import read_metadata
from simple_repository_server.errors import (
    Malformed,
    ProjectNotFound,
    SourceTimeout,
    SourceUnavailable,
)
from simple_repository_server.lifecycle import running
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
    SourceState,
)
from simple_repository_server.names import METADATA_SUFFIX, FileName, ProjectName, shown_path
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.opening import open_regular
from simple_repository_server.repository import Repository
from simple_repository_server.resource import METADATA_TYPE, BytesResource, Resource
from simple_repository_server.sources.local_builder import PageBuilder, PageJob
from simple_repository_server.sources.local_digests import DigestQueue
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import DigestStore
from simple_repository_server.sources.local_pages import LocalMetadata, LocalPage
from simple_repository_server.sources.local_problems import Problems
from simple_repository_server.sources.local_sidecars import read_content
from simple_repository_server.sources.local_watch import LocalDirectory, unreadable

DEFAULT_MEMORY_BYTES = 128 * 1024 * 1024
#: How long a page waits for the digests of its files.
_DEADLINE_S = 55.0
#: Memory for a file beside its page: its identity and a resource.
_RESOURCE_BYTES = 1300
#: Memory for metadata beside its bytes.
_METADATA_BYTES = 1500
#: The part of the memory that is for metadata: one eighth.
_METADATA_PART = 8


class LocalRepository(Repository):
    """The wheels, sdists and eggs below the directory `path`.

    Files may lie in `<project>/` folders, flat, or in any tree: the project comes from the file
    name. A metadata file beside one (`<file>.metadata`) is served as its metadata. Changes are seen
    within a second. `digests` stores across restarts what reading the files brought out, and that
    there were any; it is opened and closed with the repository. `memory` is a budget that any
    number of sources may share, in place of `memory_bytes`. `name` is what its files name as their
    source (default: the path).

    It never gives a private name away: a folder directly below the root claims its name, as does a
    file that is skipped (a page without files). `SourceUnavailable` is raised for a directory that
    had projects and is suddenly empty (see `local_root.py`), and for a project that may have files
    in a folder that cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str = "",
        digests: DigestStore | None = None,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        memory: MemoryCache[Any, Any] | None = None,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        self.label = shown_path(str(path))
        self._name = name or self.label
        self._clock = clock
        self._emit = emit
        store = digests or DigestStore(emit=emit)
        problems = Problems(self.label, emit)
        self._builder = PageBuilder(store, problems)
        self._digests = DigestQueue(store, problems=problems, emit=emit)
        self._directory = LocalDirectory(
            Path(path), store, problems=problems, clock=clock, emit=emit
        )
        for_metadata = memory_bytes // _METADATA_PART
        self._pages: Memory[ProjectName, LocalPage] = part_of(memory, memory_bytes - for_metadata)
        self._metadata: Memory[tuple[str, bool], BytesResource] = part_of(memory, for_metadata)
        self._making: SingleFlight[ProjectName, LocalPage] = SingleFlight()
        self._is_open = False

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        await self._directory.scan()
        return self._directory.projects

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        return (await self._page(project)).page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        page = await self._page(project)
        if not filename.is_metadata:
            return page.resource(filename, self._name)
        metadata = page.metadata_of(filename)
        known = self._metadata.get(metadata.key)
        return known or await self._read_metadata(page.root, metadata)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return None if self._directory.peek() is None else self._directory.projects

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        page = self._peek_page(project)
        return None if page is None else page.page

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        page = self._peek_page(project)
        if page is None:
            return None
        if not filename.is_metadata:
            return page.resource(filename, self._name)
        return self._metadata.get(page.metadata_of(filename).key)

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        if self._is_open:
            # Load balancers ask regularly: they get the present state even if nobody installs.
            self._directory.scan_later()
        return (self._directory.state(),)

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        await self._digests.open()
        self._is_open = True
        try:
            async with running(self._compute_all()):
                yield
        finally:
            self._is_open = False
            await self._making.cancel_all()
            await self._directory.close()
            await self._digests.close()

    async def _compute_all(self) -> None:
        """Compute digests ahead of the first requests, which do not wait for all of it."""
        try:
            listing = await self._directory.scan()
        except SourceUnavailable:
            return
        found = (one for files in listing.files.values() for one in files)
        await self._digests.compute_all(found, listing.root)

    # --- a page ----------------------------------------------------------------------------------

    def _peek_page(self, project: ProjectName) -> LocalPage | None:
        """The page if a recent scan confirmed it, or None. Raises `ProjectNotFound` if certain."""
        page = self._pages.get(project)
        if page is not None and self._directory.may_serve(project, page.found, page.scanned_at):
            return page
        listing = self._directory.peek()
        if listing is not None and not listing.unreadable and project not in listing.files:
            raise ProjectNotFound(project)
        return None

    async def _page(self, project: ProjectName) -> LocalPage:
        self._directory.scan_later()
        page = self._peek_page(project)
        if page is not None:
            return page
        listing = await self._directory.scan()
        scanned_at = self._directory.scanned_at
        found = listing.files.get(project)
        if listing.may_lack_files_of(project):
            # Later sources would be sent its name, or its files would be reported as deleted.
            raise SourceUnavailable(self.label, unreadable(listing))
        if found is None:
            raise ProjectNotFound(project)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                make = partial(self._make, project, found, listing.root, scanned_at)
                return await self._making.run(project, make)
        except TimeoutError as error:
            reason = f"the digests of {project} are still being computed"
            raise SourceTimeout(self.label, reason) from error

    async def _make(
        self, project: ProjectName, found: tuple[Found, ...], root: str, scanned_at: float
    ) -> LocalPage:
        before = self._pages.get(project)
        job = PageJob(project, found, root, before, self._clock())
        page = await asyncio.to_thread(self._builder.build, job)
        if not isinstance(page, LocalPage):
            computed = await self._digests.compute(page, root)
            page = await asyncio.to_thread(self._builder.build_with, job, computed)
        if page is not before:
            weight = page.page.weight + _RESOURCE_BYTES * len(page.identities)
            self._pages.put(project, page, weight)
        page.found, page.scanned_at = found, scanned_at
        return page

    async def _read_metadata(self, root: str, metadata: LocalMetadata) -> Resource:
        file, (sha256, is_beside) = metadata.file, metadata.key
        try:
            content = await asyncio.to_thread(_metadata, file, root, is_beside=is_beside)
        except (OSError, Malformed) as error:
            reason = f"{file.filename} or its metadata was just replaced or removed"
            raise SourceUnavailable(self.label, reason) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise SourceUnavailable(self.label, f"{file.filename} was just replaced")
        resource = BytesResource(
            content, media_type=METADATA_TYPE, sha256=sha256, may_change=is_beside
        )
        resource.source = self._name
        self._metadata.put(metadata.key, resource, len(content) + _METADATA_BYTES)
        return resource


def _metadata(file: File, root: str, *, is_beside: bool) -> bytes:
    """The metadata of the file, from the metadata file beside it or from inside it; blocks."""
    if is_beside:
        return read_content(file.url + METADATA_SUFFIX, root)
    with open_regular(file.url, root=root) as opened:
        return read_metadata(opened, file.filename) or b""
