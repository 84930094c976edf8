"""How a page was served is shown beside it, in the words of `cache/policy.py`."""

from pathlib import Path

import pytest
from typing_extensions import override

from simple_repository_server.errors import ProjectNotFound
from simple_repository_server.model import ProjectPage, RequestContext
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import JSON_TYPE, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.cache.indexes import BAR, FOO, Clock, index

pytestmark = pytest.mark.anyio

PAGE = "/simple/foo/"
WHEEL = build_wheel("foo", "1.0")


async def _verdict(repository: HttpRepository) -> str:
    return (await repository.get_project_page(FOO)).freshness.verdict


async def test_verdict_follows_a_page_through_its_life(upstream: Upstream, tmp_path: Path) -> None:
    """Fetched, fresh, revalidated, and stale while its index fails; online and offline."""
    publish_json(upstream, [WHEEL], max_age=100)
    clock = Clock()
    async with index(upstream, tmp_path / "cache", clock=clock) as repository:
        assert await _verdict(repository) == "fetched"
        assert await _verdict(repository) == "fresh"
        clock.now += 101
        assert await _verdict(repository) == "revalidated"
        page = repository.peek_project_page(FOO)
        assert page is not None
        assert page.freshness.verdict == "fresh"
        clock.now += 101
        upstream.on(PAGE, Reply(status=503))
        assert await _verdict(repository) == "stale-if-error"
        assert await _verdict(repository) == "stale-if-error"
        clock.now += 6
        publish_json(upstream, [build_wheel("foo", "2.0")], max_age=100)
        assert await _verdict(repository) == "fetched"
    async with index(upstream, tmp_path / "cache", clock=clock) as repository:
        assert await _verdict(repository) == "fresh"
    async with index(upstream, tmp_path / "cache", clock=clock, offline=True) as repository:
        assert await _verdict(repository) == "offline"
        assert (await repository.get_project_list()).freshness.verdict == "offline"


async def test_verdict_while_a_page_is_revalidated(upstream: Upstream, tmp_path: Path) -> None:
    """The page that is served before the answer is there shows that it is stale."""
    headers = {"Content-Type": JSON_TYPE, "Cache-Control": "max-age=10, stale-while-revalidate=60"}
    body = b'{"meta": {"api-version": "1.0"}, "name": "foo", "files": []}'
    upstream.on(PAGE, Reply(headers=headers, body=body, etag='"1"'))
    clock = Clock()
    async with index(upstream, tmp_path / "cache", clock=clock) as repository:
        await repository.get_project_page(FOO)
        clock.now += 11
        assert await _verdict(repository) == "stale-while-revalidate"


async def test_no_cache_is_shown_as_revalidated(upstream: Upstream, tmp_path: Path) -> None:
    """Though the page was fresh."""
    publish_json(upstream, [WHEEL], max_age=100)
    clock = Clock()
    async with index(upstream, tmp_path / "cache", clock=clock) as repository:
        await repository.get_project_page(FOO)
        clock.now += 2
        page = await repository.get_project_page(FOO, context=RequestContext(revalidate=True))
        assert page.freshness.verdict == "revalidated"


class CountingClock(Clock):
    """A clock that counts how often it is read."""

    reads = 0

    @override
    def __call__(self) -> float:
        self.reads += 1
        return super().__call__()


async def test_request_reads_the_clock_once(upstream: Upstream, tmp_path: Path) -> None:
    """A second read is the date of an answer of the index, or of its failure."""
    publish_json(upstream, [WHEEL], max_age=100)
    clock = CountingClock()

    async def reads(repository: HttpRepository) -> int:
        clock.reads = 0
        await repository.get_project_page(FOO)
        return clock.reads

    async with index(upstream, tmp_path / "cache", clock=clock) as repository:
        assert await reads(repository) == 2
        assert await reads(repository) == 1
        clock.now += 101
        assert await reads(repository) == 2
        clock.now += 101
        upstream.on(PAGE, Reply(status=503))
        assert await reads(repository) == 2
        assert await reads(repository) == 1
        clock.reads = 0
        assert isinstance(repository.peek_project_page(FOO), ProjectPage)
        assert clock.reads == 1


async def test_negative_entry_is_a_hit(upstream: Upstream, tmp_path: Path) -> None:
    """A project the index does not have is absent without another request, by peek as well."""
    async with index(upstream, tmp_path / "cache", clock=Clock()) as repository:
        for _ in range(2):
            with pytest.raises(ProjectNotFound):
                await repository.get_project_page(BAR)
        with pytest.raises(ProjectNotFound):
            repository.peek_project_page(BAR)
    assert len(upstream.requests) == 1
