"""What every `Repository` must do, as checks that any component can be put through.

    @pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
    async def test_conforms(check, my_repository):
        async with my_repository:
            await check(my_repository, Known(project=ProjectName("demo")))

A check is a coroutine function of an entered repository and of what is known to be in it; it
raises `AssertionError` with a sentence when the promise is broken. They need no test framework.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator

import msgspec
from typing_extensions import override

from simple_repository_server.distributions.filenames import version_of
from simple_repository_server.errors import NotFound, ProjectNotFound, ResourceNotFound
from simple_repository_server.model import NO_CONTEXT, ProjectPage, RequestContext
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
    resource = await (await repository.get_resource(page.name, file.filename)).with_size()
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


async def peek_is_what_the_coroutine_returns(repository: Repository, known: Known) -> None:
    """Before and after it, cold and warm, a peek is None or the very answer of the coroutine."""
    await _assert_peeks(repository, known.project)
    await _assert_peeks(repository, known.project)


async def peek_of_the_absent_raises_the_same(repository: Repository, known: Known) -> None:
    """What is not there is not there for a peek: None, or the error of the coroutine."""
    name = FileName("absent-9.9-py3-none-any.whl")
    for question in (
        _Question(repository, known.absent),
        *_of_file(repository, known.absent, name),
        *_of_file(repository, known.project, name),
    ):
        await _assert_peek(question)
        await _assert_peek(question)


async def peek_when_revalidating_is_revalidated(repository: Repository, known: Known) -> None:
    """Who asks for what was confirmed just now gets nothing else by a peek."""
    await repository.get_project_page(known.project)
    await _assert_peeks(repository, known.project, RequestContext(revalidate=True))


async def peek_changes_nothing(repository: Repository, known: Known) -> None:
    """However often it is peeked, each time it is the same, and so is what coroutines return."""
    page = await repository.get_project_page(known.project)
    for question in _questions(repository, page):
        before = await question.get()
        first, *others = (_peek(question) for _ in range(3))
        assert all(one is None or _same(one, first) for one in others), f"{question} is the same"
        if not isinstance(before, Resource):  # of which a cache may just have got the bytes
            assert _same(await question.get(), before), f"{question} changes no answer"


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
    peek_is_what_the_coroutine_returns,
    peek_of_the_absent_raises_the_same,
    peek_when_revalidating_is_revalidated,
    peek_changes_nothing,
)


async def assert_hidden(
    repository: Repository, project: ProjectName, filenames: list[FileName]
) -> None:
    """Nothing of the project is to be seen: not on the list, no page, no file, no metadata.

    Neither by the coroutines nor by peeks, before the coroutines were asked and after.
    """
    _assert_hidden_from_peeks(repository, project, filenames)
    assert project not in (await repository.get_project_list()).names
    await _expect(ProjectNotFound, repository.get_project_page(project))
    for filename in filenames:
        await _expect(ProjectNotFound, repository.get_resource(project, filename))
        metadata = FileName(f"{filename}.metadata")
        await _expect(ProjectNotFound, repository.get_resource(project, metadata))
    _assert_hidden_from_peeks(repository, project, filenames)


def _assert_hidden_from_peeks(
    repository: Repository, project: ProjectName, filenames: list[FileName]
) -> None:
    projects = repository.peek_project_list()
    assert projects is None or project not in projects.names, "a peek does not list it"
    questions = [_Question(repository, project)]
    for filename in filenames:
        questions += _of_file(repository, project, filename)
    for question in questions:
        peeked = _peek(question)
        assert peeked is None or isinstance(peeked, ProjectNotFound), f"{question} is hidden"


class _Question(msgspec.Struct, frozen=True):
    """What can be asked by a peek and by a coroutine: for the list, a page or a resource."""

    repository: Repository
    project: ProjectName | None = None
    filename: FileName | None = None
    context: RequestContext = NO_CONTEXT

    def peek(self) -> object:
        """The answer of the peek, or the `NotFound` it raises."""
        try:
            if self.project is None:
                return self.repository.peek_project_list(context=self.context)
            if self.filename is None:
                return self.repository.peek_project_page(self.project, context=self.context)
            return self.repository.peek_resource(self.project, self.filename, context=self.context)
        except NotFound as error:
            return error

    async def get(self) -> object:
        """The answer of the coroutine, or the `NotFound` it raises."""
        repository, context = self.repository, self.context
        try:
            if self.project is None:
                return await repository.get_project_list(context=context)
            if self.filename is None:
                return await repository.get_project_page(self.project, context=context)
            return await repository.get_resource(self.project, self.filename, context=context)
        except NotFound as error:
            return error

    @override
    def __str__(self) -> str:
        return f"what a peek says of {self.filename or self.project or 'the list'}"


def _of_file(
    repository: Repository,
    project: ProjectName,
    filename: FileName,
    context: RequestContext = NO_CONTEXT,
) -> list[_Question]:
    """The file, and its metadata, be there any or not."""
    names = filename, FileName(f"{filename}.metadata")
    return [_Question(repository, project, name, context) for name in names]


def _questions(
    repository: Repository, page: ProjectPage, context: RequestContext = NO_CONTEXT
) -> Iterator[_Question]:
    yield _Question(repository, context=context)
    yield _Question(repository, page.name, context=context)
    for file in page.files:
        yield from _of_file(repository, page.name, file.filename, context)


async def _assert_peeks(
    repository: Repository, project: ProjectName, context: RequestContext = NO_CONTEXT
) -> None:
    """All peeks of list, page and files are None or right."""
    await _assert_peek(_Question(repository, context=context))
    await _assert_peek(_Question(repository, project, context=context))
    page = await repository.get_project_page(project, context=context)
    for question in _questions(repository, page, context):
        await _assert_peek(question)


async def _assert_peek(question: _Question) -> None:
    for _ in range(_TRIES):
        before = _peek(question)
        answer = await question.get()
        after = _peek(question)
        if all(peeked is None or _same(peeked, answer) for peeked in (before, after)):
            return
        assert isinstance(answer, Resource), f"{question} is the answer"
        await asyncio.sleep(_SETTLE_S)
    raise AssertionError(f"{question} is the answer")


def _peek(question: _Question) -> object:
    running = asyncio.all_tasks()
    peeked = question.peek()
    assert asyncio.all_tasks() == running, f"{question} starts no work"
    return peeked


#: A cache may have got the bytes of a resource between peek and coroutine: both are asked anew.
_TRIES, _SETTLE_S = 20, 0.05
_SAID = ("size", "sha256", "media_type", "validator", "location", "path", "cache_key", "version")


def _same(one: object, other: object) -> bool:
    """The same object; of errors and resources, one that says the same."""
    if isinstance(one, NotFound):
        return type(one) is type(other) and str(one) == str(other)
    if isinstance(one, Resource) and isinstance(other, Resource) and one is not other:
        said = all(getattr(one, name) == getattr(other, name) for name in _SAID)
        return said and type(one) is type(other) and dict(one.hashes) == dict(other.hashes)
    return one is other


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
