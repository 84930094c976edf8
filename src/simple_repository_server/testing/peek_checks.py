"""Checks that peeks agree with the coroutines they mirror."""

import asyncio

from simple_repository_server.errors import ProjectNotFound
from simple_repository_server.model import NO_CONTEXT, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository
from simple_repository_server.resource import Resource
from simple_repository_server.testing.lookups import (
    Known,
    Lookup,
    is_same,
    lookups_of_file,
    lookups_of_page,
)

#: How often peek and coroutine are compared: a cache may store the bytes of a resource in between.
_TRIES = 20
#: The pause before they are compared again.
_PAUSE_S = 0.05


async def peek_is_what_the_coroutine_returns(repository: Repository, known: Known) -> None:
    """Cold and warm, a peek returns None or the very answer of the coroutine."""
    await _assert_page_peeks(repository, known.project)
    await _assert_page_peeks(repository, known.project)


async def peek_of_the_absent_raises_the_same(repository: Repository, known: Known) -> None:
    """For what does not exist, a peek returns None or raises the error of the coroutine."""
    name = FileName("absent-9.9-py3-none-any.whl")
    for lookup in (
        Lookup(repository, known.absent),
        *lookups_of_file(repository, known.absent, name),
        *lookups_of_file(repository, known.project, name),
    ):
        await _assert_peek(lookup)
        await _assert_peek(lookup)


async def peek_when_revalidating_is_revalidated(repository: Repository, known: Known) -> None:
    """With `revalidate`, a peek never returns what the coroutine would revalidate first."""
    await repository.get_project_page(known.project)
    await _assert_page_peeks(repository, known.project, RequestContext(revalidate=True))


async def peek_changes_nothing(repository: Repository, known: Known) -> None:
    """Repeated peeks return the same, and do not change what coroutines return."""
    page = await repository.get_project_page(known.project)
    for lookup in lookups_of_page(repository, page):
        before = await lookup.get()
        first, *others = (lookup.peek() for _ in range(3))
        for other in others:
            assert other is None or is_same(other, first), f"{lookup}: peeks are the same"
        # A cache may just have stored the bytes of a resource.
        if not isinstance(before, Resource):
            assert is_same(await lookup.get(), before), f"{lookup}: a peek changes no answer"


PEEK_CHECKS = (
    peek_is_what_the_coroutine_returns,
    peek_of_the_absent_raises_the_same,
    peek_when_revalidating_is_revalidated,
    peek_changes_nothing,
)


def assert_hidden_from_peeks(
    repository: Repository, project: ProjectName, filenames: list[FileName]
) -> None:
    """No peek returns anything of the project."""
    projects = repository.peek_project_list()
    assert projects is None or project not in projects.names, "a peek does not list it"
    lookups = [Lookup(repository, project)]
    for filename in filenames:
        lookups += lookups_of_file(repository, project, filename)
    for lookup in lookups:
        peeked = lookup.peek()
        assert peeked is None or isinstance(peeked, ProjectNotFound), f"{lookup} is hidden"


async def _assert_page_peeks(
    repository: Repository, project: ProjectName, context: RequestContext = NO_CONTEXT
) -> None:
    """All peeks of list, page and files are None or right."""
    await _assert_peek(Lookup(repository, context=context))
    await _assert_peek(Lookup(repository, project, context=context))
    page = await repository.get_project_page(project, context=context)
    for lookup in lookups_of_page(repository, page, context):
        await _assert_peek(lookup)


async def _assert_peek(lookup: Lookup) -> None:
    for _ in range(_TRIES):
        before = lookup.peek()
        answer = await lookup.get()
        after = lookup.peek()
        if all(peeked is None or is_same(peeked, answer) for peeked in (before, after)):
            return
        assert isinstance(answer, Resource), f"{lookup}: a peek is the coroutine's answer"
        await asyncio.sleep(_PAUSE_S)
    raise AssertionError(f"{lookup}: a peek is the coroutine's answer")
