"""Names that belong to one source."""

import pytest
from typing_extensions import override

from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.errors import ProjectNotFound, SourceUnavailable
from simple_repository_server.model import NO_CONTEXT, ProjectList, ProjectPage, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.policy.reserved import ReservedNamesRepository
from simple_repository_server.repository import Repository
from simple_repository_server.resource import Resource
from simple_repository_server.sources.memory import MemoryRepository

CORP = ProjectName("corp-tool")
WHEEL = FileName("corp_tool-1.0-py3-none-any.whl")


class Nosy(MemoryRepository):
    """A public index on which somebody published a company's name; remembers queries."""

    def __init__(self) -> None:
        super().__init__()
        self.add(WHEEL, b"evil", metadata=b"evil")
        self.add("public-1.0.tar.gz", b"good")
        self.queried: list[str] = []

    @override
    def _page(self, project: ProjectName) -> ProjectPage:
        self.queried.append(project)
        return super()._page(project)


class Down(Repository):
    """A source that cannot answer."""

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        raise SourceUnavailable("company", "it is down")

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        raise SourceUnavailable("company", "it is down")

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        raise SourceUnavailable("company", "it is down")


async def test_a_reserved_name_is_never_queried_elsewhere() -> None:
    """Neither for its page, nor a file, nor metadata, by coroutine and by peek."""
    source = Nosy()
    guarded = ReservedNamesRepository(source, ["Corp_*", "corp"])
    for project in (CORP, ProjectName("corp"), ProjectName("Corp.Other")):
        with pytest.raises(ProjectNotFound):
            await guarded.get_project_page(project)
        with pytest.raises(ProjectNotFound):
            guarded.peek_project_page(project)
        for name in (WHEEL, WHEEL.metadata):
            with pytest.raises(ProjectNotFound):
                await guarded.get_resource(project, name)
            with pytest.raises(ProjectNotFound):
                guarded.peek_resource(project, name)
    assert source.queried == []


async def test_a_reserved_name_is_in_no_list() -> None:
    """Other names are, and the list is the same object while nothing changes."""
    guarded = ReservedNamesRepository(Nosy(), ["corp-*"])
    found = await guarded.get_project_list()
    assert found.names == ("public",)
    assert await guarded.get_project_list() is found
    assert guarded.peek_project_list() is found


async def test_everything_else_passes() -> None:
    """Pages are the very pages of the source."""
    source = Nosy()
    guarded = ReservedNamesRepository(source, ["corp-*"])
    public = ProjectName("public")
    assert await guarded.get_project_page(public) is await source.get_project_page(public)
    found = await guarded.get_resource(public, FileName("public-1.0.tar.gz"))
    assert found.content == b"good"


async def test_while_the_owner_is_down_nobody_else_is_queried() -> None:
    """In any order of sources the owner's failure is the answer, or that nobody has it."""
    source = Nosy()
    guarded = ReservedNamesRepository(source, ["corp-*"])
    for sources in ([Down(), guarded], [guarded, Down()]):
        combined = PrioritySelectedProjectsRepository(sources)
        with pytest.raises(SourceUnavailable):
            await combined.get_project_page(CORP)
        with pytest.raises(SourceUnavailable):
            await combined.get_resource(CORP, WHEEL)
    assert source.queried == []
