"""Several repositories, of which the first one that has a project provides all of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from typing_extensions import override

from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.combine.lists import DEFAULT_LIST_BYTES, DEFAULT_WAIT_S, UnionOfLists
from simple_repository_server.errors import ProjectNotFound
from simple_repository_server.explaining import component_of
from simple_repository_server.explanation import Answered, Explanation
from simple_repository_server.model import NO_CONTEXT, ProjectList, ProjectPage, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository, RepositoryGroup
from simple_repository_server.resource import Resource

_COMPONENT = "sources in order of priority"
#: What the answer of a source that may own the project means for the sources after it.
_MEANING = {
    Answered.HAS: "the first source that has the project provides all of it",
    Answered.HIDDEN: "the source before has the project, so nobody else may provide it",
    Answered.FAILED: "the source before may have the project, so nobody else may provide it",
}


class PrioritySelectedProjectsRepository(RepositoryGroup):
    """The first source that has a project owns it: the defence against dependency confusion.

    Sources are queried one after the other, so that a private name is never sent to a later,
    public source. If a source cannot answer, its error is raised and no later source is queried
    (fail closed). The list is the union; one larger than `list_bytes` is not cached (several
    combinations may share one budget, given as `lists` instead). A source that takes longer than
    `list_wait_s` seconds for its list is left out until it has answered.
    """

    def __init__(
        self,
        sources: Sequence[Repository],
        *,
        list_bytes: int = DEFAULT_LIST_BYTES,
        lists: MemoryCache[Any, Any] | None = None,
        list_wait_s: float = DEFAULT_WAIT_S,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(*sources)
        self._lists = UnionOfLists(
            self.sources, memory_bytes=list_bytes, memory=lists, wait_s=list_wait_s, emit=emit
        )

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return await self._lists.get(context)

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with super().lifespan():
            yield
            await self._lists.close()

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        for source in self.sources:
            try:
                return await source.get_project_page(project, context=context)
            except ProjectNotFound:
                continue
        raise ProjectNotFound(project)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        for source in self.sources:
            # The page decides which source owns the project, for files as for pages; what the
            # last source does not own is nobody's.
            if source is not self.sources[-1]:
                try:
                    await source.get_project_page(project, context=context)
                except ProjectNotFound:
                    continue
            return await source.get_resource(project, filename, context=context)
        raise ProjectNotFound(project)

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        asked: list[Explanation] = []
        for position, source in enumerate(self.sources):
            asked.append(await source.explain(project, version, context=context))
            if asked[-1].answered not in {Answered.ABSENT, Answered.NOT_QUERIED}:
                rest = self.sources[position + 1 :]
                why = _MEANING[asked[-1].answered]
                return _decided_by(asked, [_not_queried(source, project, why) for source in rest])
        return Explanation(
            component=_COMPONENT,
            answered=Answered.ABSENT,
            detail="no source that may have the project has it",
            sources=tuple(asked),
        )

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self._lists.peek(context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        for source in self.sources:
            try:
                # None ends the search, too: this source may own the project.
                return source.peek_project_page(project, context=context)
            except ProjectNotFound:
                continue
        raise ProjectNotFound(project)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        for source in self.sources:
            if source is not self.sources[-1]:
                try:
                    if source.peek_project_page(project, context=context) is None:
                        return None
                except ProjectNotFound:
                    continue
            return source.peek_resource(project, filename, context=context)
        raise ProjectNotFound(project)


def _not_queried(source: Repository, project: ProjectName, why: str) -> Explanation:
    detail = source.not_queried_for(project) or why
    return Explanation(component=component_of(source), answered=Answered.NOT_QUERIED, detail=detail)


def _decided_by(asked: list[Explanation], rest: list[Explanation]) -> Explanation:
    """The explanation where the last of those that were queried decides, and `rest` were not."""
    last = asked[-1]
    return Explanation(
        component=_COMPONENT,
        answered=last.answered,
        detail=f"number {len(asked)} of {len(asked) + len(rest)} decides",
        files=last.files,
        concealed=last.concealed,
        sources=(*asked, *rest),
    )
