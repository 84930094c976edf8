"""What is made of large answers: within a budget, and not where it holds everybody up."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar
from weakref import ref

import pytest
from typing_extensions import override

from simple_repository_server import (
    AllowListRepository,
    DenyListRepository,
    MemoryRepository,
    MergedRepository,
    ProjectName,
    Repository,
)
from simple_repository_server.model import NO_CONTEXT, ProjectList, ProjectPage, RequestContext

pytestmark = pytest.mark.anyio

T = TypeVar("T")
FOO = ProjectName("foo")


class Listed(Repository):
    """Has as many names as a large index."""

    def __init__(self) -> None:
        names = sorted(ProjectName(f"p{number}") for number in range(150_000))
        self._list = ProjectList(names=tuple(names))

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return self._list

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self._list


async def _with_turns(work: Awaitable[T]) -> tuple[T, int]:
    """What it comes to, and how often others had their turn meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    before = turns
    result = await work
    counting.cancel()
    return result, turns - before


async def test_merged_pages_are_kept_within_a_budget() -> None:
    """Also while the pages they were made of are there; one that is merged again is as before."""
    first, second = MemoryRepository(), MemoryRepository()
    names = [ProjectName(f"project-{number}") for number in range(100)]
    for name in names:
        for number in range(20):
            first.add(f"{name}-{number}.0.tar.gz", b"1")
            second.add(f"{name}-{number}.1.tar.gz", b"2")
    merged = MergedRepository([first, second], memory_bytes=1_000_000)
    pages: list[ref[ProjectPage]] = []
    for name in names:
        page = await merged.get_project_page(name)
        assert await merged.get_project_page(name) is page
        assert len(page.files) == 40
        pages.append(ref(page))
        del page
    alive = [page() for page in pages]
    held = sum(page.weight for page in alive if page is not None)
    assert 100_000 < held < 1_000_000
    assert merged.peek_project_page(names[0]) is None
    assert len((await merged.get_project_page(names[0])).files) == 40


async def test_a_large_page_is_merged_in_a_thread() -> None:
    """Once for all who ask, who get the same page."""
    first, second = MemoryRepository(), MemoryRepository()
    for number in range(1_100):
        first.add(f"foo-{number}.0.tar.gz", b"1")
        second.add(f"foo-{number}.1.tar.gz", b"2")
    merged = MergedRepository([first, second])
    asked = asyncio.gather(*(merged.get_project_page(FOO) for _ in range(3)))
    pages, turns = await _with_turns(asked)
    assert pages[0] is pages[1] is pages[2] is merged.peek_project_page(FOO)
    assert len(pages[0].files) == 2_200
    assert turns > 10


@pytest.mark.parametrize("kind", ["allow", "deny"])
async def test_a_large_list_is_filtered_in_a_thread(kind: str) -> None:
    """Once for all who ask, who get the same list."""
    source = Listed()
    repository = (
        AllowListRepository(source, allowed=["p1"])
        if kind == "allow"
        else DenyListRepository(source, denied=["p1"])
    )
    asked = asyncio.gather(*(repository.get_project_list() for _ in range(3)))
    lists, turns = await _with_turns(asked)
    assert lists[0] is lists[1] is lists[2] is repository.peek_project_list()
    assert len(lists[0].names) == (1 if kind == "allow" else 149_999)
    assert turns > 10
