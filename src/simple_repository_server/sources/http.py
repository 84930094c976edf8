"""Another index as a repository: pages kept, confirmed when stale, served on when it is down."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from weakref import WeakKeyDictionary

import msgspec
from typing_extensions import override

from simple_repository_server.cache.disk import DiskCache
from simple_repository_server.cache.pages import PageStore
from simple_repository_server.errors import (
    InvalidName,
    ProjectNotFound,
    ResourceNotFound,
    SourceInvalid,
)
from simple_repository_server.model import (
    NO_CONTEXT,
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
from simple_repository_server.sources.http_documents import Documents, Rules
from simple_repository_server.upstream.client import Answer, Limits, UpstreamClient
from simple_repository_server.upstream.credentials import Credentials, split_credentials
from simple_repository_server.upstream.resource import RemoteResource
from simple_repository_server.wire import pages

DEFAULT_MEMORY_BYTES = 128 * 1024 * 1024
#: The list's name among the pages: none that a project could have.
_LIST = ".list"
#: A list of all names is served however old it is, while a new one is fetched: nobody waits for it.
_LIST_GRACE_S = 7 * 24 * 3600.0


_Resources = WeakKeyDictionary[ProjectPage, dict[FileName, RemoteResource]]


class HttpRepository(Repository):
    """The index at `url` (the address of its list, as pip would be given it).

    `user:password@` in the address and `credentials` are sent to its origin only; with either, its
    files are never left to clients to fetch. `forbidden_means_absent`: read status 403 as "no such
    project", as some indexes mean it. `memory_bytes` bounds the pages kept in memory; with `cache`
    they outlive the process. `rules` say how long what was said counts.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        forbidden_means_absent: bool = False,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        cache: DiskCache | None = None,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        bare, in_url = split_credentials(url)
        self._base = bare.rstrip("/") + "/"
        self._credentials = credentials or in_url
        self.label = self._base
        self._rules = rules or Rules()
        self._client = UpstreamClient(
            bare,
            label=self.label,
            credentials=self._credentials,
            limits=limits,
            absent=frozenset({403}) if forbidden_means_absent else frozenset(),
            offline=self._rules.offline,
            on_change=self._note_origin,
        )
        self._emit = emit
        self._failed_because: str | None = None
        self._asked = False
        # Another user may be shown other pages.
        who = self._credentials.user if self._credentials else ""
        self._store = PageStore(cache, f"{who} {self._base}") if cache else None
        #: Those that were asked for, by their page: no more than it has files.
        self._resources: _Resources = WeakKeyDictionary()
        common = partial(Documents, self._client, store=self._store, clock=clock, note=self._note)
        self._pages: Documents[ProjectPage] = common(
            url_of=lambda project: f"{self._base}{project}/",
            max_bytes=self._client.limits.page_bytes,
            read=self._read_page,
            memory_bytes=memory_bytes,
            rules=self._rules,
        )
        self._lists: Documents[ProjectList] = common(
            url_of=lambda _: self._base,
            max_bytes=self._client.limits.list_bytes,
            read=_read_list,
            memory_bytes=self._client.limits.list_bytes,
            rules=self._rules,
            min_grace_s=_LIST_GRACE_S,
        )

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        if self._rules.offline:
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
        kept = None if self._rules.offline else self._lists.peek(_LIST, context)
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
        detail = self._client.not_asked or self._failed_because or ""
        if self._rules.offline:
            available, detail = None, "offline: what is in the cache is served"
        elif not detail and self._lists.is_awaited(_LIST):
            detail = "its list of projects is still being fetched"
        return (
            SourceState(label=self.label, kind="remote index", available=available, detail=detail),
        )

    @override
    async def _open(self) -> None:
        if self._store is not None:
            await self._store.__aenter__()
        await self._client.open()

    @override
    async def _close(self) -> None:
        await self._pages.close()
        await self._lists.close()
        await self._client.close()
        if self._store is not None:
            await self._store.__aexit__()

    def _resource(
        self, page: ProjectPage, project: ProjectName, filename: FileName
    ) -> RemoteResource:
        """The file, or its metadata; the same object as long as its page is the same."""
        known = self._resources.setdefault(page, {})
        resource = known.get(filename)
        if resource is None:
            resource = known[filename] = self._made(page, project, filename)
        return resource

    def _made(self, page: ProjectPage, project: ProjectName, filename: FileName) -> RemoteResource:
        file = page.find(filename)
        if file is not None:
            url, size, hashes = file.url, file.size, file.hashes
        else:
            file = page.find(filename.described)
            if file is None or not file.core_metadata:
                raise ResourceNotFound(project, filename)
            # PEP 658: the suffix belongs to the path, so before a query.
            path, question, query = file.url.partition("?")
            url, size = f"{path}.metadata{question}{query}", None
            hashes = {} if file.core_metadata is True else file.core_metadata
        return RemoteResource(
            self._client,
            url,
            project=project,
            filename=filename,
            size=size,
            hashes=hashes,
            direct=self._credentials is None,
        )

    async def _known_projects(self) -> ProjectList:
        """Those whose pages are kept."""
        names = await self._store.names() if self._store else []
        return ProjectList(names=sorted_unique(_project_names(names)))

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
        return _without_signatures(found.page)

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
        if place == self.label or (failed_because is None and not self._client.not_asked):
            self._note(failed_because)


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
