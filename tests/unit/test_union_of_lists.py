"""The union of lists: made once as long as it may be kept, and right when it may not."""

import gc
from weakref import ref

import pytest

from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.combine.lists import UnionOfLists
from simple_repository_server.model import NO_CONTEXT
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream

pytestmark = pytest.mark.anyio


def _source(*projects: str) -> MemoryRepository:
    source = MemoryRepository()
    for project in projects:
        source.add(f"{project}-1.0-py3-none-any.whl", b"")
    return source


async def test_union_of_unchanged_lists_is_the_same_object() -> None:
    """Within its budget, the union is computed once and peeked."""
    union = UnionOfLists([_source("a", "b"), _source("b", "c")])
    first = await union.get(NO_CONTEXT)
    assert list(first.names) == ["a", "b", "c"]
    assert await union.get(NO_CONTEXT) is first
    assert union.peek(NO_CONTEXT) is first


async def test_union_larger_than_the_budget_is_not_cached() -> None:
    """It is computed for each request, and freed afterwards."""
    union = UnionOfLists([_source("a", "b"), _source("b", "c")], memory_bytes=100)
    for _ in range(2):
        found = await union.get(NO_CONTEXT)
        assert list(found.names) == ["a", "b", "c"]
    assert union.peek(NO_CONTEXT) is None
    gone = ref(found)
    del found
    gc.collect()
    assert gone() is None


async def test_list_larger_than_the_budget_is_not_cached(upstream: Upstream) -> None:
    """The source fetches it for each request and holds nothing of it."""
    publish_json(upstream, [build_wheel("a"), build_wheel("b")], max_age=600)
    lists: MemoryCache[object, object] = MemoryCache(100)
    async with HttpRepository(upstream.simple, lists=lists) as source:
        for _ in range(2):
            assert list((await source.get_project_list()).names) == ["a", "b"]
        assert source.peek_project_list() is None
        assert lists.bytes == 0
    assert len(upstream.seen("/simple/")) == 2
