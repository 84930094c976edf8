"""Lookups that checks make: by coroutine and by peek, with their answers compared."""

import asyncio
import hashlib
from collections.abc import Awaitable, Iterator, Mapping
from typing import TypeVar

import msgspec
from typing_extensions import override

from simple_repository_server.errors import HiddenByRule, NotFound
from simple_repository_server.model import NO_CONTEXT, ProjectPage, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository
from simple_repository_server.resource import ByteRange, Resource

E = TypeVar("E", bound=Exception)

#: What a lookup of something that is not shown raises.
NOT_SHOWN = (NotFound, HiddenByRule)
#: The attributes in which two resources for the same bytes agree.
_COMPARED = ("size", "sha256", "media_type", "etag", "location", "path", "cache_key", "version")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the repository under test contains, and what it does not."""

    #: A project with at least one file.
    project: ProjectName
    #: A project that does not exist.
    absent: ProjectName = ProjectName("no-such-project-anywhere")


class Lookup(msgspec.Struct, frozen=True):
    """A lookup of the list, of a page or of a resource, by coroutine or by peek."""

    repository: Repository
    project: ProjectName | None = None
    filename: FileName | None = None
    context: RequestContext = NO_CONTEXT

    def peek(self) -> object:
        """What the peek returns, or the error if it is not shown; it must not start any task."""
        tasks = asyncio.all_tasks()
        try:
            answer = self._peek()
        except NOT_SHOWN as error:
            answer = error
        assert asyncio.all_tasks() == tasks, f"{self}: a peek starts no work"
        return answer

    def _peek(self) -> object:
        if self.project is None:
            return self.repository.peek_project_list(context=self.context)
        if self.filename is None:
            return self.repository.peek_project_page(self.project, context=self.context)
        return self.repository.peek_resource(self.project, self.filename, context=self.context)

    async def get(self) -> object:
        """What the coroutine returns, or the error if it is not shown."""
        repository, context = self.repository, self.context
        try:
            if self.project is None:
                return await repository.get_project_list(context=context)
            if self.filename is None:
                return await repository.get_project_page(self.project, context=context)
            return await repository.get_resource(self.project, self.filename, context=context)
        except NOT_SHOWN as error:
            return error

    @override
    def __str__(self) -> str:
        return f"{type(self.repository).__name__}: {self.filename or self.project or 'the list'}"


def lookups_of_file(
    repository: Repository,
    project: ProjectName,
    filename: FileName,
    context: RequestContext = NO_CONTEXT,
) -> list[Lookup]:
    """The lookups of a file and of its metadata, whether either exists or not."""
    return [Lookup(repository, project, name, context) for name in (filename, filename.metadata)]


def lookups_of_page(
    repository: Repository, page: ProjectPage, context: RequestContext = NO_CONTEXT
) -> Iterator[Lookup]:
    """The lookups of the list, of the page, and of its files and their metadata."""
    yield Lookup(repository, context=context)
    yield Lookup(repository, page.name, context=context)
    for file in page.files:
        yield from lookups_of_file(repository, page.name, file.filename, context)


def is_same(one: object, other: object) -> bool:
    """Whether two answers are the same object; for errors and resources: equivalent ones."""
    if isinstance(one, NOT_SHOWN):
        return type(one) is type(other) and str(one) == str(other)
    if isinstance(one, Resource) and isinstance(other, Resource) and one is not other:
        equal = all(getattr(one, name) == getattr(other, name) for name in _COMPARED)
        return equal and type(one) is type(other) and dict(one.hashes) == dict(other.hashes)
    return one is other


async def read_all(resource: Resource, byte_range: ByteRange | None = None) -> bytes:
    """The bytes of a resource, or of a range of it."""
    async with resource.open(byte_range) as body:
        content = b"".join([chunk async for chunk in body.chunks])
    assert body.length in (None, len(content)), "a body has the length it states"
    return content


async def expect_error(kind: type[E], work: Awaitable[object]) -> E:
    """The error of that class which `work` must raise."""
    try:
        await work
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} is raised")


def assert_digests(content: bytes, hashes: Mapping[str, str], what: str) -> None:
    """All digests are those of the content."""
    for name, digest in hashes.items():
        actual = hashlib.new(name, content, usedforsecurity=False).hexdigest()
        assert actual == digest, f"{what} has the {name} digest that its page states"
