"""What is made of large answers: within a budget, and not where it holds everybody up."""

import asyncio
import threading
from collections.abc import Awaitable, Iterable, Iterator
from typing import TypeVar
from weakref import ref

import pytest
from typing_extensions import override

from simple_repository_server import (
    AllowListRepository,
    DenyListRepository,
    File,
    FileName,
    MemoryRepository,
    MergedRepository,
    ProjectName,
)
from simple_repository_server.model import NO_CONTEXT, ProjectList, ProjectPage, RequestContext

pytestmark = pytest.mark.anyio

T = TypeVar("T")
E = TypeVar("E")
DEADLINE_S = 20.0
FOO = ProjectName("foo")


class Listed(MemoryRepository):
    """Has as many names as a large index."""

    def __init__(self) -> None:
        super().__init__()
        self.names = watched(sorted(ProjectName(f"p{number}") for number in range(150_000)))
        self._projects = ProjectList(names=self.names)

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return self._projects

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self._projects


class Watched(tuple[E, ...]):  # noqa: SLOT001 - a tuple can have none that holds something
    """Values that can be gone through once the event loop has had a turn, or never."""

    turn: threading.Event

    @override
    def __iter__(self) -> Iterator[E]:
        assert self.turn.wait(DEADLINE_S), "it is gone through where it holds everybody up"
        return super().__iter__()


def watched(values: Iterable[E]) -> Watched[E]:
    """The values, and an event that is set when others have their turn."""
    found = Watched(values)
    found.turn = threading.Event()
    return found


async def _beside(work: Awaitable[T], turn: threading.Event) -> T:
    """What it comes to, if others have a turn meanwhile."""
    waiting = asyncio.ensure_future(work)
    asyncio.get_running_loop().call_later(0.05, turn.set)
    return await waiting


async def test_merged_pages_are_cached_within_a_budget() -> None:
    """Merged pages are evicted beyond the budget, and merged again when requested."""
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


async def test_large_page_is_merged_once_in_a_thread() -> None:
    """Concurrent requests get the same page, while the event loop is free."""
    files = watched(
        File(filename=FileName(f"foo-{n}.0.tar.gz"), url="memory:", hashes={}) for n in range(1_100)
    )
    first = MemoryRepository({FOO: ProjectPage(name=FOO, files=files)})
    second = MemoryRepository()
    for number in range(1_100):
        second.add(f"foo-{number}.1.tar.gz", b"2")
    merged = MergedRepository([first, second])
    asked = asyncio.gather(*(merged.get_project_page(FOO) for _ in range(3)))
    pages = await _beside(asked, files.turn)
    assert pages[0] is pages[1] is pages[2] is merged.peek_project_page(FOO)
    assert len(pages[0].files) == 2_200


@pytest.mark.parametrize("kind", ["allow", "deny"])
async def test_large_list_is_filtered_once_in_a_thread(kind: str) -> None:
    """Concurrent requests get the same list, while the event loop is free."""
    source = Listed()
    repository = (
        AllowListRepository(source, allowed=["p1"])
        if kind == "allow"
        else DenyListRepository(source, denied=["p1"])
    )
    asked = asyncio.gather(*(repository.get_project_list() for _ in range(3)))
    lists = await _beside(asked, source.names.turn)
    assert lists[0] is lists[1] is lists[2] is repository.peek_project_list()
    assert len(lists[0].names) == (1 if kind == "allow" else 149_999)
