"""A directory of distribution files as a repository."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from typing_extensions import override

from simple_repository_server.cache.memory import MemoryCache
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
from simple_repository_server.observe.events import (
    Emit,
    MetadataUnreadable,
    ignore,
)
from simple_repository_server.opening import open_regular
from simple_repository_server.repository import Repository
from simple_repository_server.resource import METADATA_TYPE, BytesResource, Resource
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import DigestStore, FileIdentity
from simple_repository_server.sources.local_inspector import STILL_WRITTEN, Inspector, identities
from simple_repository_server.sources.local_pages import (
    DigestsComputed,
    LocalMetadata,
    LocalPage,
    make_page,
    withheld,
)
from simple_repository_server.sources.local_reports import Reports
from simple_repository_server.sources.local_sidecars import Sidecar, read_content, read_sidecars
from simple_repository_server.sources.local_watch import LocalDirectory, unreadable

DEFAULT_MEMORY_BYTES = 128 * 1024 * 1024
#: How long a page waits for the digests of its files.
_DEADLINE_S = 55.0
#: What one file takes beside its page: which one it is, and a resource; and what metadata takes.
_RESOURCE_BYTES, _METADATA_BYTES = 1300, 1500
#: Of the memory, the part for metadata.
_FOR_METADATA = 8


class LocalRepository(Repository):
    """The wheels, sdists and eggs below the directory `path`.

    Files may lie in `<project>/` folders, flat, or in any tree: the project comes from the file
    name. A metadata file beside one (`<file>.metadata`) is served as its metadata. Changes are seen
    within a second. `digests` remembers across restarts what was read out of the files, and that
    there were any; it is opened and closed with the repository.

    It never gives a private name away: a folder directly below the root takes its name, as does a
    file that is skipped (a page without files), and a directory that had projects and is suddenly
    empty raises `SourceUnavailable` (see `local_root.py`).
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
        self.label = shown_path(str(path))
        self._clock = clock
        self._emit = emit
        store = digests or DigestStore(emit=emit)
        self._reports = Reports(self.label, emit)
        self._inspector = Inspector(store, reports=self._reports, emit=emit)
        self._directory = LocalDirectory(
            Path(path), store, reports=self._reports, clock=clock, emit=emit
        )
        self._pages: MemoryCache[ProjectName, LocalPage]
        for_metadata = memory_bytes // _FOR_METADATA
        self._pages = MemoryCache(memory_bytes - for_metadata)
        self._metadata: MemoryCache[tuple[str, bool], BytesResource] = MemoryCache(for_metadata)
        self._making: SingleFlight[ProjectName, LocalPage] = SingleFlight()
        self._warm_up: asyncio.Task[None] | None = None
        self._is_open = False

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        await self._directory.look()
        return self._directory.projects

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
        metadata = kept.metadata_of(filename)
        known = self._metadata.get(metadata.key)
        return known or await self._read_metadata(kept.root, metadata)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return None if self._directory.peek() is None else self._directory.projects

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
        return self._metadata.get(kept.metadata_of(filename).key)

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        if self._is_open:
            # Who asks again, as load balancers do, is told how it is now, though nobody installs.
            self._directory.look_later()
        return (self._directory.state(),)

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        await self._inspector.open()
        self._is_open = True
        try:
            async with running(self._inspect_all()) as self._warm_up:
                yield
        finally:
            self._is_open = False
            await self._making.cancel_all()
            await self._directory.close()
            await self._inspector.close()

    async def _inspect_all(self) -> None:
        """Compute digests ahead of the first requests, which do not wait for all of it."""
        try:
            listing = await self._directory.look()
        except SourceUnavailable:
            return
        found = [one for files in listing.files.values() for one in files]
        files = await asyncio.to_thread(identities, found, listing.root, self._reports)
        await self._inspector.inspect_all(_of(found, files), listing.root)

    # --- a page ----------------------------------------------------------------------------------

    def _peek_kept(self, project: ProjectName) -> LocalPage | None:
        """The page that was looked at just now, or None. Raises `ProjectNotFound` if certain."""
        kept = self._pages.get(project)
        if kept is not None and self._directory.is_recent(kept.looked_at):
            return kept
        listing = self._directory.peek()
        if listing is not None and not listing.unreadable and project not in listing.files:
            raise ProjectNotFound(project)
        return None

    async def _kept(self, project: ProjectName) -> LocalPage:
        kept = self._peek_kept(project)
        if kept is not None:
            return kept
        listing = await self._directory.look()
        found = listing.files.get(project)
        if not found and listing.unreadable:
            # It may be in there, and looking elsewhere would give its name away.
            raise SourceUnavailable(self.label, unreadable(listing))
        if found is None:
            raise ProjectNotFound(project)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                make = partial(self._make, project, found, listing.root)
                return await self._making.run(project, make)
        except TimeoutError as error:
            reason = f"the digests of {project} are still being computed"
            raise SourceTimeout(self.label, reason) from error

    async def _make(self, project: ProjectName, found: tuple[Found, ...], root: str) -> LocalPage:
        now = self._clock()
        files = await asyncio.to_thread(identities, found, root, self._reports)
        kept = self._pages.get(project)
        if kept is None or not kept.holds(found, files):
            before = kept.sidecars if kept is not None else {}
            inspected = await self._inspected(found, files, before, root)
            page = make_page(project, inspected)
            if kept is not None and kept.page.files == page.files:
                page = kept.page
            settled, sidecars = inspected.is_settled, inspected.sidecars
            kept = LocalPage(page, found, files, sidecars, settled, root, now)
            self._tell_problems(project, inspected)
            self._pages.put(project, kept, page.weight + _RESOURCE_BYTES * len(files))
        kept.looked_at = now
        return kept

    async def _inspected(
        self,
        found: tuple[Found, ...],
        files: dict[str, FileIdentity],
        before: Mapping[str, Sidecar],
        root: str,
    ) -> DigestsComputed:
        facts = await self._inspector.facts(_of(found, files), root)
        sidecars: dict[str, Sidecar] = {}
        if any(one.has_sidecar for one in found):
            sidecars = await asyncio.to_thread(
                read_sidecars, found, files, before, root, self._reports
            )
        held = frozenset[str]()
        if any(known.problem is not None for known in facts.values()):
            held = await asyncio.to_thread(withheld, facts, files, sidecars, root, self._clock())
        return DigestsComputed(found, files, facts, sidecars, held)

    def _tell_problems(self, project: ProjectName, inspected: DigestsComputed) -> None:
        for one in inspected.found:
            facts = inspected.facts.get(one.path)
            if one.path in inspected.withheld:
                self._reports.skipped(one.path, STILL_WRITTEN)
            elif facts is None:
                continue  # who looked at it says why
            elif facts.problem is None or inspected.has_sidecar(one.path):
                self._reports.forget(one.path)
            else:
                event = MetadataUnreadable(project=project, file=one.filename, reason=facts.problem)
                self._reports.say(one.path, facts.problem, event)

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
        self._metadata.put(metadata.key, resource, len(content) + _METADATA_BYTES)
        return resource


def _metadata(file: File, root: str, *, is_beside: bool) -> bytes:
    """The metadata of the file, from beside it or out of it; blocks."""
    if is_beside:
        return read_content(file.url + METADATA_SUFFIX, root)
    with open_regular(file.url, root=root) as opened:
        return read_metadata(opened, file.filename) or b""


def _of(found: Iterable[Found], files: dict[str, FileIdentity]) -> dict[str, FileIdentity]:
    """The identities of the distributions alone."""
    return {one.path: files[one.path] for one in found if one.path in files}
