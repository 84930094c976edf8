"""Routing: each project has one responsible repository, and no other is ever queried."""

import pytest

from simple_repository_server import FileName, MemoryRepository, ProjectName, Repository
from simple_repository_server.combine.routed import RoutedRepository
from simple_repository_server.errors import ProjectNotFound, SourceUnavailable
from simple_repository_server.explanation import Answered
from simple_repository_server.testing.conformance import Recording, assert_hidden
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.wrapper_checks import Unavailable

pytestmark = pytest.mark.anyio
CORP = ProjectName("corp-api")
REQUESTS = ProjectName("requests")


def _with(*names: str) -> MemoryRepository:
    repository = MemoryRepository()
    for name in names:
        built = build_wheel(name, "1.0")
        repository.add(built.filename, built.content, metadata=built.metadata)
    return repository


def _file(name: str) -> FileName:
    return FileName(build_wheel(name, "1.0").filename)


async def test_project_comes_from_the_first_route_that_matches() -> None:
    """The first pattern decides, in any spelling; names without a route are the default's."""
    corp, torch, rest = _with("corp-api"), _with("torch"), _with("requests", "torch", "corp-api")
    routes: list[tuple[str, Repository]] = [("Corp_*", corp), ("torch", torch), ("*o*", rest)]
    async with RoutedRepository(routes, default=rest) as repository:
        for source, name in ((corp, "corp-api"), (torch, "torch"), (rest, "requests")):
            project = ProjectName(name)
            page = await repository.get_project_page(project)
            assert page is await source.get_project_page(project)
            assert repository.peek_project_page(project) is page
            resource = await repository.get_resource(project, _file(name))
            assert resource is await source.get_resource(project, _file(name))
            assert repository.peek_resource(project, _file(name)) is resource


async def test_no_other_repository_is_queried() -> None:
    """Neither an absent project nor an outage leads to another repository."""
    public = Recording(_with("corp-api", "requests"))
    async with RoutedRepository([("corp-*", _with())], default=public) as repository:
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(CORP)
        with pytest.raises(ProjectNotFound):
            await repository.get_resource(CORP, _file("corp-api"))
        with pytest.raises(ProjectNotFound):
            repository.peek_project_page(CORP)
    down = Unavailable(_with("corp-api"))
    async with RoutedRepository([("corp-*", down)], default=public) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(CORP)
    assert public.lookups == []


async def test_list_has_what_is_routed() -> None:
    """Each repository adds the names that are routed to it, and no others."""
    corp, rest = _with("corp-api", "requests"), _with("requests", "corp-fake")
    routes: list[tuple[str, Repository]] = [("corp-*", corp), ("corp", corp)]
    async with RoutedRepository(routes, default=rest) as repository:
        projects = await repository.get_project_list()
        assert projects.names == ("corp-api", "requests")
        assert repository.peek_project_list() is projects
        await assert_hidden(repository, ProjectName("corp-fake"), [_file("corp-fake")])


async def test_large_list_is_filtered() -> None:
    """A list of many names is as complete as a small one."""
    many = _with()
    for number in range(5_100):
        many.add(f"p{number}-1.0.tar.gz", b"")
    async with RoutedRepository([("p1*", many)], default=_with("requests")) as repository:
        names = (await repository.get_project_list()).names
        assert len(names) == sum(f"p{n}".startswith("p1") for n in range(5_100)) + 1


async def test_without_a_default_other_names_do_not_exist() -> None:
    """A name that no pattern matches is absent."""
    async with RoutedRepository([("corp-*", _with("corp-api", "requests"))]) as repository:
        await assert_hidden(repository, REQUESTS, [_file("requests")])
        assert repository.responsible_for(REQUESTS) is None


@pytest.mark.parametrize("pattern", ["", " ", "corp/*", "corp-*>=1", "ä*"])
def test_pattern_that_can_match_no_name_is_rejected(pattern: str) -> None:
    """The error repeats the pattern and shows one that is right."""
    with pytest.raises(ValueError, match=r"'corp-\*'") as raised:
        RoutedRepository([(pattern, _with())])
    assert repr(pattern) in str(raised.value)


def test_nothing_to_route_to_is_rejected() -> None:
    """There must be at least one repository."""
    with pytest.raises(ValueError, match="default"):
        RoutedRepository([])


async def test_explanation_is_that_of_the_responsible_repository() -> None:
    """It names the source that is responsible, or that none is."""
    async with RoutedRepository([("corp-*", _with("corp-api"))]) as repository:
        assert (await repository.explain(CORP)).answered is Answered.HAS
        explained = await repository.explain(REQUESTS)
        assert (explained.answered, "no route" in explained.detail) == (Answered.ABSENT, True)
