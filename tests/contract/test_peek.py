"""What is said without waiting keeps the rules: who owns a name, and what is hidden."""

import pytest
from typing_extensions import override

from simple_repository_server import (
    DenyListRepository,
    FileName,
    MemoryRepository,
    MergedRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    ProjectName,
)
from simple_repository_server.errors import ProjectNotFound, ResourceNotFound
from simple_repository_server.model import (
    File,
    ProjectList,
    ProjectPage,
    ProjectStatus,
    Status,
)
from simple_repository_server.testing.distributions import build_wheel

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0")
NAME = FileName(WHEEL.filename)
METADATA = FileName(f"{WHEEL.filename}.metadata")


def _memory(version: str = "1.0") -> MemoryRepository:
    repository = MemoryRepository()
    built = build_wheel("foo", version)
    repository.add(built.filename, built.content, metadata=built.metadata)
    return repository


class Unsaying(MemoryRepository):
    """A source that cannot say anything without waiting."""

    @override
    def peek_project_list(self, **_: object) -> ProjectList | None:
        return None

    @override
    def peek_project_page(self, project: ProjectName, **_: object) -> ProjectPage | None:
        return None

    @override
    def peek_resource(self, project: ProjectName, filename: FileName, **_: object) -> None:
        return None


async def test_peek_finds_the_first_source_that_has_the_project() -> None:
    """Page and file are those of the first source that has the project."""
    first, second = _memory("1.0"), _memory("2.0")
    repository = PrioritySelectedProjectsRepository([MemoryRepository(), first, second])
    assert repository.peek_project_page(FOO) is await first.get_project_page(FOO)
    assert repository.peek_resource(FOO, NAME) is await first.get_resource(FOO, NAME)
    with pytest.raises(ResourceNotFound):
        repository.peek_resource(FOO, FileName(build_wheel("foo", "2.0").filename))
    with pytest.raises(ProjectNotFound):
        repository.peek_project_page(ProjectName("bar"))


@pytest.mark.parametrize("kind", [PrioritySelectedProjectsRepository, MergedRepository])
async def test_peek_stops_at_a_source_that_must_be_awaited(
    kind: type[PrioritySelectedProjectsRepository | MergedRepository],
) -> None:
    """If an earlier source must be awaited, no later source is peeked."""
    repository = kind([Unsaying(), _memory()])
    await repository.get_project_list()
    assert repository.peek_project_list() is None
    assert repository.peek_project_page(FOO) is None
    assert repository.peek_resource(FOO, NAME) is None
    assert repository.peek_resource(FOO, METADATA) is None
    assert repository.peek_project_page(ProjectName("bar")) is None


async def test_peek_ignores_sources_after_the_owner() -> None:
    """A later source that must be awaited does not matter."""
    first = _memory()
    repository = PrioritySelectedProjectsRepository([first, Unsaying()])
    assert repository.peek_project_page(FOO) is await first.get_project_page(FOO)
    assert repository.peek_resource(FOO, NAME) is await first.get_resource(FOO, NAME)


async def test_merged_page_is_peeked_after_it_was_merged() -> None:
    """A merged page is peeked once it was computed for the current pages."""
    first, second = _memory("1.0"), _memory("2.0")
    other = FileName(build_wheel("foo", "2.0").filename)
    repository = MergedRepository([first, second])
    assert repository.peek_project_page(FOO) is None
    page = await repository.get_project_page(FOO)
    assert repository.peek_project_page(FOO) is page
    assert repository.peek_resource(FOO, NAME) is await first.get_resource(FOO, NAME)
    assert repository.peek_resource(FOO, other) is await second.get_resource(FOO, other)
    second.add("foo-3.0.tar.gz", b"3")
    assert repository.peek_project_page(FOO) is None
    assert (await repository.get_project_page(FOO)).find("foo-3.0.tar.gz") is not None


async def test_union_is_peeked_only_for_the_current_lists() -> None:
    """When the list of one source changes, the union must be computed before it is peeked."""
    first, second = _memory(), MemoryRepository()
    repository = PrioritySelectedProjectsRepository([first, second])
    names = await repository.get_project_list()
    assert repository.peek_project_list() is names
    second.add("bar-1.0.tar.gz", b"1")
    assert repository.peek_project_list() is None
    await second.get_project_list()
    assert repository.peek_project_list() is None
    assert (await repository.get_project_list()).names == ("bar", "foo")


async def test_peek_hides_files_and_metadata_of_a_denied_project() -> None:
    """A denied project's file, metadata and name are hidden."""
    repository = DenyListRepository(_memory(), denied=["FOO"])
    await repository.get_project_list()
    for name in (NAME, METADATA):
        with pytest.raises(ProjectNotFound):
            repository.peek_resource(FOO, name)
    with pytest.raises(ProjectNotFound):
        repository.peek_project_page(FOO)
    peeked = repository.peek_project_list()
    assert peeked is not None
    assert FOO not in peeked.names


async def test_peek_of_a_quarantined_project_has_no_files() -> None:
    """Its page exists without files, and its files are not found."""
    file = File(filename=NAME, url="memory:", hashes={"sha256": WHEEL.sha256}, core_metadata=True)
    status = ProjectStatus(Status.QUARANTINED)
    page = ProjectPage(name=FOO, files=(file,), status=status)
    source = MemoryRepository({FOO: page}, {NAME: WHEEL.content, METADATA: WHEEL.metadata})
    repository = MetadataInjectorRepository(source)
    await repository.get_project_page(FOO)
    peeked = repository.peek_project_page(FOO)
    assert peeked is not None
    assert peeked.status == status
    assert not peeked.files
    for name in (NAME, METADATA):
        with pytest.raises(ResourceNotFound):
            repository.peek_resource(FOO, name)


async def test_file_removed_from_its_page_is_not_peeked() -> None:
    """A file that a new page does not list is not served."""

    class Page(MemoryRepository):
        def show(self, page: ProjectPage) -> None:
            self._pages[page.name] = page

    repository = Page()
    repository.add(NAME, WHEEL.content, metadata=WHEEL.metadata)
    assert repository.peek_resource(FOO, NAME) is await repository.get_resource(FOO, NAME)
    assert repository.peek_resource(FOO, METADATA) is await repository.get_resource(FOO, METADATA)
    repository.show(ProjectPage(name=FOO, files=()))
    for name in (NAME, METADATA):
        with pytest.raises(ResourceNotFound):
            repository.peek_resource(FOO, name)


async def test_yanked_file_is_served_and_marked() -> None:
    """A yanked file is served, and the page has the reason of its source."""
    file = File(filename=NAME, url="memory:", hashes={"sha256": WHEEL.sha256}, yanked="broken")
    source = MemoryRepository({FOO: ProjectPage(name=FOO, files=(file,))}, {NAME: WHEEL.content})
    repository = MetadataInjectorRepository(source)
    await repository.get_project_page(FOO)
    peeked = repository.peek_project_page(FOO)
    assert peeked is not None
    assert peeked.files[0].yanked == "broken"
    assert repository.peek_resource(FOO, NAME) is await repository.get_resource(FOO, NAME)


async def test_metadata_is_peeked_with_the_page_that_announces_it() -> None:
    """After metadata was read, the page is computed again before it is peeked."""
    repository = MetadataInjectorRepository(MemoryRepository())
    source = repository.source
    assert isinstance(source, MemoryRepository)
    source.add(NAME, WHEEL.content)
    first = await repository.get_project_page(FOO)
    assert repository.peek_project_page(FOO) is first
    assert repository.peek_resource(FOO, METADATA) is None
    metadata = await repository.get_resource(FOO, METADATA)
    assert repository.peek_resource(FOO, METADATA) is metadata
    assert await repository.get_resource(FOO, METADATA) is metadata
    assert repository.peek_project_page(FOO) is None
    page = await repository.get_project_page(FOO)
    assert repository.peek_project_page(FOO) is page
    assert page.files[0].core_metadata == {"sha256": metadata.sha256}


async def test_unreadable_metadata_is_absent_for_peeks() -> None:
    """An invalid wheel has no metadata, which a peek reports once it is known."""
    repository = MetadataInjectorRepository(MemoryRepository())
    source = repository.source
    assert isinstance(source, MemoryRepository)
    source.add(NAME, b"no wheel")
    with pytest.raises(ResourceNotFound):
        await repository.get_resource(FOO, METADATA)
    with pytest.raises(ResourceNotFound):
        repository.peek_resource(FOO, METADATA)
