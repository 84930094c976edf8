"""What every `Repository` must do, as checks that any component can be put through.

    @pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
    async def test_conforms(check, my_repository):
        async with my_repository:
            await check(my_repository, Known(project=ProjectName("demo")))

A check is a coroutine function of an entered repository and of what is known to be in it; it
raises `AssertionError` with a sentence when the promise is broken. They need no test framework.
"""

import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from simple_repository_server.distributions.filenames import version_of
from simple_repository_server.errors import ProjectNotFound, ResourceNotFound
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository
from simple_repository_server.resource import ByteRange, Resource


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the repository under test has, and has not."""

    #: A project with at least one file.
    project: ProjectName
    absent: ProjectName = ProjectName("no-such-project-anywhere")


Check = Callable[[Repository, Known], Awaitable[None]]


async def list_has_the_project(repository: Repository, known: Known) -> None:
    """The list names the project, once, normalised, in order, and not the absent one."""
    names = (await repository.get_project_list()).names
    assert known.project in names, "a project with a page is on the list"
    assert known.absent not in names, "a project without a page is not on the list"
    assert list(names) == sorted(set(names)), "the list is sorted and unique"
    assert all(isinstance(name, ProjectName) for name in names), "the names are normalised"


async def unchanged_is_identical(repository: Repository, known: Known) -> None:
    """As long as nothing changes, the same snapshot objects are returned."""
    first = await repository.get_project_page(known.project)
    assert await repository.get_project_page(known.project) is first, "the page is the same object"
    projects = await repository.get_project_list()
    assert await repository.get_project_list() is projects, "the list is the same object"


async def page_is_of_the_project(repository: Repository, known: Known) -> None:
    """The page is the project's, its file names are unique, its versions cover all files."""
    page = await repository.get_project_page(known.project)
    assert page.name == known.project
    names = [file.filename for file in page.files]
    assert names, "the project has files"
    assert len(names) == len(set(names)), "no file is listed twice"
    assert len(page.versions) == len(set(page.versions)), "no version is listed twice"
    for file in page.files:
        assert version_of(file.filename, page.name) in page.versions, "each version is listed"
        assert page.find(file.filename) is file, "a file on the page is found by its name"


async def absent_project_is_absent(repository: Repository, known: Known) -> None:
    """Page, files and metadata of an absent project: `ProjectNotFound`, not anything else."""
    name = FileName("no_such_project_anywhere-1.0-py3-none-any.whl")
    await _expect(ProjectNotFound, repository.get_project_page(known.absent))
    await _expect(ProjectNotFound, repository.get_resource(known.absent, name))
    metadata = FileName(f"{name}.metadata")
    await _expect(ProjectNotFound, repository.get_resource(known.absent, metadata))


async def absent_file_is_absent(repository: Repository, known: Known) -> None:
    """A file that is not on the page is not served: `ResourceNotFound`."""
    for name in ("absent-9.9-py3-none-any.whl", "absent-9.9-py3-none-any.whl.metadata"):
        await _expect(ResourceNotFound, repository.get_resource(known.project, FileName(name)))


async def shown_is_downloadable(repository: Repository, known: Known) -> None:
    """Each file on the page opens, with the size and the digest that the page gives."""
    page = await repository.get_project_page(known.project)
    for file in page.files:
        content = await _content(await repository.get_resource(page.name, file.filename))
        if file.size is not None:
            assert len(content) == file.size, f"{file.filename} has the size of its page"
        _assert_digests(content, file.hashes, file.filename)


async def parts_are_parts(repository: Repository, known: Known) -> None:
    """A range of a file is just that part of it."""
    page = await repository.get_project_page(known.project)
    file = page.files[0]
    resource = await (await repository.get_resource(page.name, file.filename)).measured()
    whole = await _content(resource)
    assert resource.size == len(whole), "the size can be found out"
    for start, stop in ((0, 1), (1, len(whole)), (len(whole) - 1, len(whole))):
        part = await _content(resource, ByteRange(start, stop))
        assert part == whole[start:stop], f"bytes {start} to {stop} of {file.filename}"


async def announced_metadata_answers(repository: Repository, known: Known) -> None:
    """`.metadata` answers where it is announced, with that digest, and nowhere else."""
    page = await repository.get_project_page(known.project)
    for file in page.files:
        name = FileName(f"{file.filename}.metadata")
        if not file.core_metadata:
            await _expect(ResourceNotFound, repository.get_resource(page.name, name))
            continue
        content = await _content(await repository.get_resource(page.name, name))
        assert b"Metadata-Version:" in content, f"{name} is core metadata"
        current = (await repository.get_project_page(known.project)).find(file.filename)
        assert current is not None
        if not isinstance(current.core_metadata, bool):
            _assert_digests(content, current.core_metadata, name)


async def entering_twice_is_fine(repository: Repository, known: Known) -> None:
    """A repository may be part of several combinations: leaving one does not close it."""
    async with repository:
        await repository.get_project_page(known.project)
    await repository.get_project_page(known.project)


async def states_are_told(repository: Repository, known: Known) -> None:
    """Every source below says how it is doing, and none tells a credential."""
    await repository.get_project_page(known.project)
    for state in repository.source_states():
        assert state.label, "a source has a label"
        assert "@" not in state.label, "a label has no credentials"


CHECKS: tuple[Check, ...] = (
    list_has_the_project,
    unchanged_is_identical,
    page_is_of_the_project,
    absent_project_is_absent,
    absent_file_is_absent,
    shown_is_downloadable,
    parts_are_parts,
    announced_metadata_answers,
    entering_twice_is_fine,
    states_are_told,
)


async def assert_hidden(
    repository: Repository, project: ProjectName, filenames: list[FileName]
) -> None:
    """Nothing of the project is to be seen: not on the list, no page, no file, no metadata."""
    assert project not in (await repository.get_project_list()).names
    await _expect(ProjectNotFound, repository.get_project_page(project))
    for filename in filenames:
        await _expect(ProjectNotFound, repository.get_resource(project, filename))
        metadata = FileName(f"{filename}.metadata")
        await _expect(ProjectNotFound, repository.get_resource(project, metadata))


async def _content(resource: Resource, byte_range: ByteRange | None = None) -> bytes:
    async with resource.open(byte_range) as body:
        content = b"".join([chunk async for chunk in body.chunks])
    assert body.length in (None, len(content)), "a body has the length it says"
    return content


async def _expect(kind: type[Exception], work: Awaitable[object]) -> None:
    try:
        await work
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was to be raised")


def _assert_digests(content: bytes, hashes: object, what: str) -> None:
    assert isinstance(hashes, dict)
    for name, digest in hashes.items():
        actual = hashlib.new(name, content, usedforsecurity=False).hexdigest()
        assert actual == digest, f"{what} has the {name} that its page gives"
