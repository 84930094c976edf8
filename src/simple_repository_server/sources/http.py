"""Another index as a repository: pages kept, confirmed when stale, served on when it is down."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from typing_extensions import override

from simple_repository_server.cache.memory import ENTRY_BYTES, Memory, MemoryCache, MemoryPart
from simple_repository_server.cache.policy import CacheEntry, CachePolicy
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.errors import (
    InvalidName,
    ProjectNotFound,
    ResourceNotFound,
    SourceInvalid,
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
    EntriesDropped,
    SourceFailed,
    SourceRecovered,
    ignore,
)
from simple_repository_server.repository import Repository
from simple_repository_server.resource import Resource
from simple_repository_server.sources.http_answers import AnswerReader
from simple_repository_server.sources.http_cache import IndexCache
from simple_repository_server.sources.http_documents import CachedDocuments
from simple_repository_server.upstream.client import Answer, Limits, UpstreamClient
from simple_repository_server.upstream.credentials import Credentials, split_credentials
from simple_repository_server.upstream.egress import Egress
from simple_repository_server.upstream.resource import RemoteResource
from simple_repository_server.wire import pages

DEFAULT_MEMORY_BYTES = 128 * 1024 * 1024
#: The list's name among the pages: none that a project could have.
_LIST = ".list"
#: A list of all names is served however old it is, while a new one is fetched: nobody waits for it.
_LIST_STALE_WHILE_REVALIDATE_S = 7 * 24 * 3600.0
#: The files that were asked for last, and what they were made of.
_Resources = MemoryCache[tuple[str, str], tuple[File, RemoteResource]]
#: Of the memory, the parts for the files that were asked for last, and for lists.
_FOR_RESOURCES, _FOR_LISTS = 16, 4
#: What a resource takes beside its address, which is there three times.
_RESOURCE_BYTES = 1000


class HttpRepository(Repository):
    """The index at `url` (the address of its list, as pip would be given it).

    `user:password@` in the address and `credentials` are sent to its origin only; with either, its
    files are never left to clients to fetch. `forbidden_means_absent`: read status 403 as "no such
    project", as some indexes mean it. `memory_bytes` bounds what is kept in memory. `lists` is
    the budget for the list of projects, for any number of indexes together (else a part of
    `memory_bytes`); with `cache` pages outlive the process. `policy` says how long what was said
    counts. `label` is shown in the place of an address that has a secret in it; then, too, clients
    get all files from this server. `egress` says which proxies and certificates are used.
    """

    def __init__(
        self,
        url: str,
        *,
        label: str | None = None,
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        forbidden_means_absent: bool = False,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        lists: MemoryCache[Any, Any] | None = None,
        cache: CacheFolder | None = None,
        policy: CachePolicy | None = None,
        egress: Egress | None = None,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        bare, in_url = split_credentials(url)
        self._base = bare.rstrip("/") + "/"
        self._credentials = credentials or in_url
        self.label = label or self._base
        self._policy = policy or CachePolicy()
        self._client = UpstreamClient(
            bare,
            label=self.label,
            credentials=self._credentials,
            limits=limits,
            absent=frozenset({403}) if forbidden_means_absent else frozenset(),
            offline=self._policy.offline,
            egress=egress,
            on_change=self._note_origin,
        )
        self._emit = emit
        self._failed_because: str | None = None
        self._asked = False
        # Who reads 403 as "not there" believes in what others take for a refusal.
        self._cache = IndexCache(
            cache,
            f"{self._base} 403" if forbidden_means_absent else self._base,
            secret=self._secret,
            forget=self._forget,
            clock=clock,
            emit=emit,
        )
        self._offline_list = ProjectList(names=())
        for_resources, for_pages, for_lists = _divided(memory_bytes, lists)
        self._resources: _Resources = MemoryCache(for_resources)
        self._pages = self._pages_of(MemoryCache(for_pages), clock)
        self._lists = self._lists_of(for_lists, clock)

    @property
    def _secret(self) -> bytes:
        """What those know who may see what is kept of this index; b"" where anybody may."""
        if self._credentials is not None:
            return self._credentials.secret
        return self._base.encode() if self.label != self._base else b""

    def _pages_of(
        self, memory: Memory[str, CacheEntry[ProjectPage]], clock: Callable[[], float]
    ) -> CachedDocuments[ProjectPage]:
        most = self._client.limits.page_bytes
        return CachedDocuments(
            self._client,
            self._cache,
            AnswerReader(self.label, self._read_page, max_bytes=most, emit=self._emit),
            url_of=lambda project: f"{self._base}{project}/",
            memory=memory,
            policy=self._policy,
            clock=clock,
            note=self._note,
        )

    def _lists_of(
        self, memory: Memory[str, CacheEntry[ProjectList]], clock: Callable[[], float]
    ) -> CachedDocuments[ProjectList]:
        most = self._client.limits.list_bytes
        return CachedDocuments(
            self._client,
            self._cache,
            AnswerReader(self.label, _read_list, max_bytes=most, emit=self._emit),
            url_of=lambda _: self._base,
            memory=memory,
            policy=self._policy,
            min_stale_while_revalidate_s=_LIST_STALE_WHILE_REVALIDATE_S,
            clock=clock,
            note=self._note,
        )

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        if self._policy.offline:
            return await self._known_projects()
        found = await self._lists.get(_LIST, context)
        if found is None:
            raise SourceInvalid(self.label, "it has no list of projects")
        return found

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        page = await self._pages.get(project, context)
        if page is None:
            raise ProjectNotFound(project)
        return page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        page = await self.get_project_page(project, context=context)
        return self._resource(page, project, filename)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        kept = None if self._policy.offline else self._lists.peek(_LIST, context)
        return None if kept is None else kept.snapshot

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        kept = self._pages.peek(project, context)
        if kept is not None and kept.snapshot is None:
            raise ProjectNotFound(project)
        return None if kept is None else kept.snapshot

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        page = self.peek_project_page(project, context=context)
        return None if page is None else self._resource(page, project, filename)

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        available = self._failed_because is None if self._asked else None
        detail = self._client.open_circuits or self._failed_because or ""
        if self._policy.offline:
            available, detail = None, "offline: what is in the cache is served"
        elif not detail and self._lists.is_awaited(_LIST):
            detail = "its list of projects is still being fetched"
        return (
            SourceState(
                label=self.label,
                kind="remote index",
                available=available,
                answers=available is False and not self._client.is_silent,
                detail=detail,
            ),
        )

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._cache:
            self._client.identity = f"{self._cache.who} {self.label}"
            async with self._client:
                yield
                await self._pages.close()
                await self._lists.close()

    def _resource(
        self, page: ProjectPage, project: ProjectName, filename: FileName
    ) -> RemoteResource:
        """The file, or its metadata; the same object as long as its page says the same of it."""
        file = page.find(filename)
        is_metadata = file is None
        if file is None:
            file = page.find(filename.distribution)
            if file is None or not file.core_metadata:
                raise ResourceNotFound(project, filename)
        known = self._resources.get((project, filename))
        if known is not None and known[0] is file:
            return known[1]
        resource = self._made(file, project, filename, is_metadata=is_metadata)
        weight = ENTRY_BYTES + _RESOURCE_BYTES + 3 * len(file.url)
        self._resources.put((project, filename), (file, resource), weight)
        return resource

    def _made(
        self, file: File, project: ProjectName, filename: FileName, *, is_metadata: bool
    ) -> RemoteResource:
        url, size, hashes = file.url, file.size, file.hashes
        if is_metadata:
            # PEP 658: the suffix belongs to the path, so before a query.
            path, question, query = file.url.partition("?")
            url, size = f"{path}.metadata{question}{query}", None
            hashes = {} if isinstance(file.core_metadata, bool) else file.core_metadata
        return RemoteResource(
            self._client,
            url,
            project=project,
            filename=filename,
            size=size,
            hashes=hashes,
            # Not where the address of the file may have the secret of ours in it.
            direct=self._credentials is None and self.label == self._base,
        )

    def _forget(self, project: ProjectName) -> None:
        self._pages.forget(project)

    async def _known_projects(self) -> ProjectList:
        """Those whose pages are kept; the same object while they are the same."""
        if self._cache.refusal.holds:
            raise self._pages.unknown(_LIST)
        kept = await self._cache.store.names() if self._cache.store else []
        if (names := sorted_unique(_project_names(kept))) != self._offline_list.names:
            self._offline_list = ProjectList(names=names)
        return self._offline_list

    def _read_page(self, name: str, answer: Answer) -> ProjectPage:
        content_type = answer.headers.get("Content-Type", "")
        project = ProjectName(name)
        found = pages.read_page(answer.body, content_type, project=project, base=answer.url)
        if found.dropped:
            self._emit(
                EntriesDropped(
                    source=self.label,
                    project=project,
                    count=found.dropped,
                    example=found.example,
                )
            )
        page = _without_signatures(found.page)
        page.weight  # noqa: B018 - found out here, where it holds nobody up
        return page

    def _note(self, failed_because: str | None) -> None:
        before, self._failed_because, self._asked = self._failed_because, failed_because, True
        if failed_because is not None and before is None:
            self._emit(SourceFailed(source=self.label, reason=failed_because))
        elif failed_because is None and before is not None:
            self._emit(SourceRecovered(source=self.label))

    def _note_origin(self, place: str, failed_because: str | None) -> None:
        """Of the index itself, or of another host it sends us to: not asked, or asked again."""
        if place != self.label and failed_because is not None:
            self._emit(SourceFailed(source=place, reason=failed_because))
        elif place != self.label:
            self._emit(SourceRecovered(source=place))
        if place == self.label or (failed_because is None and not self._client.open_circuits):
            self._note(failed_because)


def _divided(
    memory_bytes: int, lists: MemoryCache[Any, Any] | None
) -> tuple[int, int, MemoryPart[str, CacheEntry[ProjectList]]]:
    """What of the memory is for files, what for pages, and the budget for the list."""
    for_files = memory_bytes // _FOR_RESOURCES
    for_lists = 0 if lists is not None else memory_bytes // _FOR_LISTS
    whole = MemoryCache(for_lists) if lists is None else lists
    return for_files, memory_bytes - for_files - for_lists, MemoryPart(whole)


def _project_names(names: Iterable[str]) -> Iterator[ProjectName]:
    """Those that are some: the list is there, too, and what file systems and people leave."""
    for name in names:
        with contextlib.suppress(InvalidName):
            yield ProjectName(name)


def _read_list(_: str, answer: Answer) -> ProjectList:
    return pages.read_list(answer.body, answer.headers.get("Content-Type", ""))


def _without_signatures(page: ProjectPage) -> ProjectPage:
    """The page without what it says of `.asc` files, as those are not served through us."""
    if all(file.gpg_sig is None for file in page.files):
        return page
    files = tuple(msgspec.structs.replace(file, gpg_sig=None) for file in page.files)
    return msgspec.structs.replace(page, files=files)
