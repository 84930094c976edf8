"""What every `Repository` must do, as checks that any component can be put through.

    @pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
    async def test_conforms(check, my_repository):
        async with my_repository:
            await check(my_repository, Known(project=ProjectName("demo")))

A check is a coroutine function of a repository, entered once, and of what is known to be in it. It
raises `AssertionError` with a sentence if the promise is broken. For components around another
one there are `WRAPPER_CHECKS`. None of them needs a test framework.
"""

from collections.abc import Awaitable, Callable

from simple_repository_server.distributions.filenames import version_of
from simple_repository_server.errors import ProjectNotFound, ResourceNotFound
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository
from simple_repository_server.resource import ByteRange
from simple_repository_server.testing.lookups import (
    Known,
    assert_digests,
    expect_error,
    read_all,
)
from simple_repository_server.testing.peek_checks import PEEK_CHECKS, assert_hidden_from_peeks
from simple_repository_server.testing.wrapper_checks import (
    WRAPPER_CHECKS,
    Recording,
    Wrap,
    WrapperCheck,
)

__all__ = [
    "CHECKS",
    "WRAPPER_CHECKS",
    "Check",
    "Known",
    "Recording",
    "Wrap",
    "WrapperCheck",
    "assert_hidden",
]

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
    """Page, file and metadata of an absent project raise `ProjectNotFound` for that project."""
    name = FileName("no_such_project_anywhere-1.0-py3-none-any.whl")
    for work in (
        repository.get_project_page(known.absent),
        repository.get_resource(known.absent, name),
        repository.get_resource(known.absent, name.metadata),
    ):
        error = await expect_error(ProjectNotFound, work)
        assert error.project == known.absent, "the error names the project"


async def absent_file_is_absent(repository: Repository, known: Known) -> None:
    """A file that is not on the page, and its metadata, raise `ResourceNotFound` for that name."""
    absent = FileName("absent-9.9-py3-none-any.whl")
    for name in (absent, absent.metadata, absent.metadata.metadata):
        work = repository.get_resource(known.project, name)
        error = await expect_error(ResourceNotFound, work)
        assert error.project == known.project, "the error names the project"
        assert error.filename == name, "the error names the file"


async def other_spellings_are_absent(repository: Repository, known: Known) -> None:
    """A name that only resembles that of a file on the page raises `ResourceNotFound`."""
    page = await repository.get_project_page(known.project)
    for file in page.files:
        for name in _spellings(file.filename):
            if page.find(name) is None:
                for one in (name, name.metadata):
                    await expect_error(ResourceNotFound, repository.get_resource(page.name, one))


async def shown_is_downloadable(repository: Repository, known: Known) -> None:
    """Each file on the page opens, with the size and the digest that the page gives."""
    page = await repository.get_project_page(known.project)
    for file in page.files:
        content = await read_all(await repository.get_resource(page.name, file.filename))
        if file.size is not None:
            assert len(content) == file.size, f"{file.filename} has the size of its page"
        assert_digests(content, file.hashes, file.filename)


async def parts_are_parts(repository: Repository, known: Known) -> None:
    """A range of a file is just that part of it."""
    page = await repository.get_project_page(known.project)
    file = page.files[0]
    resource = await (await repository.get_resource(page.name, file.filename)).with_size()
    whole = await read_all(resource)
    assert resource.size == len(whole), "the size can be found out"
    for start, stop in ((0, 1), (1, len(whole)), (len(whole) - 1, len(whole))):
        part = await read_all(resource, ByteRange(start, stop))
        assert part == whole[start:stop], f"bytes {start} to {stop} of {file.filename}"


async def announced_metadata_answers(repository: Repository, known: Known) -> None:
    """`.metadata` answers where it is announced, with that digest, and nowhere else."""
    page = await repository.get_project_page(known.project)
    for file in page.files:
        name = file.filename.metadata
        if not file.core_metadata:
            await expect_error(ResourceNotFound, repository.get_resource(page.name, name))
            continue
        content = await read_all(await repository.get_resource(page.name, name))
        assert b"Metadata-Version:" in content, f"{name} is core metadata"
        current = (await repository.get_project_page(known.project)).find(file.filename)
        assert current is not None
        if not isinstance(current.core_metadata, bool):
            assert_digests(content, current.core_metadata, name)


async def entering_twice_is_fine(repository: Repository, known: Known) -> None:
    """Entered twice and left once, a repository is open: it may be part of combinations."""
    async with repository:
        await repository.get_project_page(known.project)
    await repository.get_project_page(known.project)


async def closed_and_opened_again(repository: Repository, known: Known) -> None:
    """A repository that was closed may be entered again, and answers as before."""
    versions = (await repository.get_project_page(known.project)).versions
    await repository.__aexit__(None, None, None)
    await repository.__aenter__()
    assert (await repository.get_project_page(known.project)).versions == versions
    assert known.project in (await repository.get_project_list()).names


async def states_are_stable(repository: Repository, known: Known) -> None:
    """The sources below are reported in a stable order, with labels that hold no credentials."""
    before = repository.source_states()
    await repository.get_project_page(known.project)
    after = repository.source_states()
    assert [(one.label, one.kind) for one in before] == [(one.label, one.kind) for one in after]
    for state in after:
        assert state.label, "a source has a label"
        assert "@" not in state.label, "a label has no credentials"
        assert state.available is not False, f"{state.label} is available"


CHECKS: tuple[Check, ...] = (
    list_has_the_project,
    unchanged_is_identical,
    page_is_of_the_project,
    absent_project_is_absent,
    absent_file_is_absent,
    other_spellings_are_absent,
    shown_is_downloadable,
    parts_are_parts,
    announced_metadata_answers,
    entering_twice_is_fine,
    closed_and_opened_again,
    states_are_stable,
    *PEEK_CHECKS,
)


async def assert_hidden(
    repository: Repository, project: ProjectName, filenames: list[FileName]
) -> None:
    """Nothing of the project is visible: it is not listed, and has no page, file or metadata.

    Neither by coroutines nor by peeks, cold or warm, under any spelling of the file names.
    """
    assert_hidden_from_peeks(repository, project, filenames)
    assert project not in (await repository.get_project_list()).names, "it is not listed"
    await expect_error(ProjectNotFound, repository.get_project_page(project))
    names = [*filenames, *(spelled for name in filenames for spelled in _spellings(name))]
    for name in names:
        await expect_error(ProjectNotFound, repository.get_resource(project, name))
        await expect_error(ProjectNotFound, repository.get_resource(project, name.metadata))
    assert_hidden_from_peeks(repository, project, names)


def _spellings(filename: FileName) -> list[FileName]:
    """Other names that a careless comparison might take for the file's."""
    stem, separator, rest = filename.partition("-")
    texts = (
        filename.upper(),
        filename.title(),
        f"{stem.replace('_', '-')}{separator}{rest}",
        f"{stem.replace('_', '.')}{separator}{rest}",
        f"{filename} ",
        f"{filename}.",
        f"{filename}%00",
        filename.replace("-", "%2D"),
    )
    return [FileName(text) for text in dict.fromkeys(texts) if text != filename]
