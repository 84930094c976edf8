"""A component of the library as a repository."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from simple_repository import SimpleRepository, model
from typing_extensions import override

from simple_repository_server.adapters.from_library_files import LibraryFiles
from simple_repository_server.adapters.from_library_pages import list_of, page_of
from simple_repository_server.adapters.library_calls import Calls, CarriedContext
from simple_repository_server.adapters.to_library import ExposedRepository
from simple_repository_server.cache.memory import ENTRY_BYTES, MemoryCache, MemoryPart
from simple_repository_server.errors import ResourceNotFound
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
    SourceState,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.availability import Availability
from simple_repository_server.observe.events import Emit, EntriesDropped, ignore
from simple_repository_server.repository import RepositoryGroup
from simple_repository_server.resource import Resource
from simple_repository_server.threads import in_thread_if
from simple_repository_server.upstream.client import UpstreamClient
from simple_repository_server.upstream.credentials import Credentials, split_credentials
from simple_repository_server.upstream.egress import Egress
from simple_repository_server.upstream.limits import Limits

T = TypeVar("T")

#: Stands for a public index where the address of the index is unknown: no request is sent to it,
#: but where its files may lie is decided by it.
_SOME_PUBLIC_INDEX = "https://[2600::]/"
#: Pages and lists with more entries are converted in a thread.
_CONVERT_HERE = 1_000
#: The library's page, or list, and ours.
_COPIES = 3
#: What an answer of the component was, and what became of it.
_Known = tuple[object, T]


class ComponentRepository(RepositoryGroup):
    """A component of the library: see `from_simple_repository`."""

    def __init__(
        self,
        component: SimpleRepository,
        *,
        label: str,
        url: str | None,
        credentials: Credentials | None,
        contains: Sequence[ExposedRepository],
        call_s: float,
        memory_bytes: int,
        limits: Limits | None,
        egress: Egress | None,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(*(one.repository for one in contains))
        self._contains = tuple(contains)
        self.component = component
        self.label = label
        bare, in_url = split_credentials(url or _SOME_PUBLIC_INDEX)
        credentials = credentials or in_url
        self._client = UpstreamClient(
            bare, label=label, credentials=credentials, limits=limits, egress=egress
        )
        if credentials is not None:
            # Another component, with other credentials, must not find these files in a cache.
            self._client.identity = f"{secrets.token_hex(16)} {label}"
        self._files = LibraryFiles(self._client, direct=credentials is None)
        self._availability = Availability(label, emit)
        self._calls = Calls(label, call_s=call_s, availability=self._availability)
        memory: MemoryCache[Any, Any] = MemoryCache(memory_bytes)
        self._pages: MemoryPart[ProjectName, _Known[ProjectPage]] = MemoryPart(memory)
        self._lists: MemoryPart[None, _Known[ProjectList]] = MemoryPart(memory)
        self._emit = emit

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return await self._calls.result(self._get_list(CarriedContext(context)))

    async def _get_list(self, context: CarriedContext) -> ProjectList:
        theirs: Any = await self.component.get_project_list(request_context=context)
        large = isinstance(theirs, model.ProjectList) and len(theirs.projects) > _CONVERT_HERE
        known = self._lists.get(None)
        if known is not None and await in_thread_if(large, _equal, known[0], theirs):
            return known[1]
        projects = await in_thread_if(large, list_of, theirs)
        self._lists.put(None, (theirs, projects), ENTRY_BYTES + _COPIES * projects.weight)
        return projects

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        work = self._get_page(project, CarriedContext(context))
        return await self._calls.result(work, project=project)

    async def _get_page(self, project: ProjectName, context: CarriedContext) -> ProjectPage:
        # What it really returns is checked when it is converted.
        theirs: Any = await self.component.get_project_page(str(project), request_context=context)
        large = isinstance(theirs, model.ProjectDetail) and len(theirs.files) > _CONVERT_HERE
        known = self._pages.get(project)
        if known is not None and await in_thread_if(large, _equal, known[0], theirs):
            return known[1]
        found = await in_thread_if(large, page_of, theirs, project)
        if found.dropped:
            self._emit(
                EntriesDropped(
                    source=self.label,
                    project=project,
                    count=found.dropped,
                    example=found.example,
                )
            )
        weight = ENTRY_BYTES + _COPIES * found.page.weight
        self._pages.put(project, (theirs, found.page), weight)
        return found.page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        page = await self.get_project_page(project, context=context)
        file = _listed(page, filename)
        work = self._get_resource(file, project, filename, CarriedContext(context))
        return await self._calls.result(work, project=project, filename=filename)

    async def _get_resource(
        self, file: File, project: ProjectName, filename: FileName, context: CarriedContext
    ) -> Resource:
        theirs = await self.component.get_resource(
            str(project), str(filename), request_context=context
        )
        resource = await self._files.resource(theirs, file, project, filename)
        resource.source = resource.source or self.label
        return resource

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        own = SourceState(
            label=self.label,
            kind="simple-repository component",
            available=self._availability.known,
            detail=self._availability.failure or "",
        )
        return (own, *super().source_states())

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(super().lifespan())
            for one in self._contains:
                await stack.enter_async_context(one)
            await stack.enter_async_context(self._client)
            stack.push_async_callback(self._files.close)
            yield


def _equal(one: object, other: object) -> bool:
    return one is other or one == other


def _listed(page: ProjectPage, filename: FileName) -> File:
    """The file of that name, or whose metadata it is. Raises `ResourceNotFound`."""
    file = page.find(filename)
    if file is not None:
        return file
    file = page.find(filename.distribution)
    if file is None or not file.core_metadata:
        raise ResourceNotFound(page.name, filename)
    return file
