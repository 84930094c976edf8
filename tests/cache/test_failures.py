"""Failures of an index: how soon the next client causes a request, and what is served."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from simple_repository_server.disk.projects import forget, refresh
from simple_repository_server.errors import SourceTimeout, SourceUnavailable
from simple_repository_server.model import NO_CONTEXT, RequestContext
from simple_repository_server.names import ProjectName
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits
from tests.cache.indexes import BAR, FOO, Clock, index

pytestmark = pytest.mark.anyio

WHEEL, OTHER = build_wheel("foo", "1.0"), build_wheel("bar", "1.0")
PAGE = "/simple/foo/"
#: One attempt of a few seconds.
SILENCE = Limits(idle_s=2.2, page_s=10.0, attempts=1, failures=1000)
SILENT = Reply(delay_s=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache lies."""
    return tmp_path / "cache"


async def _noticed(repository: HttpRepository, folder: Path) -> None:
    """Until it knows what was changed by hand; it has the page of `bar` in memory."""
    refresh(folder, BAR)
    async with asyncio.timeout(10):
        while repository.peek_project_page(BAR) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_timeout_of_a_page_is_not_repeated_for_retries(upstream: Upstream) -> None:
    """Retries fail at once, `no-cache` or not; other projects are requested."""
    publish_json(upstream, [WHEEL, OTHER])
    upstream.on(PAGE, SILENT)
    async with HttpRepository(upstream.simple, limits=SILENCE) as repository:
        for context in (NO_CONTEXT, NO_CONTEXT, RequestContext(revalidate=True)):
            with pytest.raises(SourceTimeout):
                await repository.get_project_page(FOO, context=context)
        assert len(upstream.seen(PAGE)) == 1
        assert (await repository.get_project_page(BAR)).files
        publish_json(upstream, [WHEEL, OTHER])
        async with asyncio.timeout(30):
            while len(upstream.seen(PAGE)) == 1:
                with contextlib.suppress(SourceTimeout):
                    await repository.get_project_page(FOO)
                await asyncio.sleep(0.05)
        assert (await repository.get_project_page(FOO)).files


async def test_retry_after_of_a_page_is_respected(upstream: Upstream, folder: Path) -> None:
    """For that page; after `cache refresh` it is requested again."""
    publish_json(upstream, [WHEEL, OTHER])
    upstream.on(PAGE, Reply(status=429, headers={"Retry-After": "50"}))
    async with index(upstream, folder) as repository:
        for _ in range(3):
            with pytest.raises(SourceUnavailable, match="429"):
                await repository.get_project_page(FOO)
        assert len(upstream.seen(PAGE)) == 1
        assert (await repository.get_project_page(BAR)).files
        publish_json(upstream, [WHEEL, OTHER])
        refresh(folder, FOO)
        await _noticed(repository, folder)
        assert (await repository.get_project_page(FOO)).files


async def test_quick_failure_is_not_remembered(upstream: Upstream) -> None:
    """The next request may succeed."""
    publish_json(upstream, [WHEEL])
    upstream.on(PAGE, Reply(status=503))
    async with HttpRepository(upstream.simple, limits=Limits(attempts=1)) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)
        publish_json(upstream, [WHEEL])
        assert (await repository.get_project_page(FOO)).files


@pytest.mark.parametrize("by_hand", [forget, refresh])
async def test_page_forgotten_during_an_outage_is_not_served_stale(
    upstream: Upstream, folder: Path, by_hand: Callable[[Path, ProjectName], int]
) -> None:
    """A request in flight does not restore it; a page marked for refresh may be served."""
    publish_json(upstream, [WHEEL], max_age=300)
    publish_json(upstream, [OTHER], max_age=600)
    clock = Clock()
    slow = msgspec.structs.replace(SILENCE, idle_s=5.0)
    async with index(upstream, folder, clock=clock, limits=slow) as repository:
        await repository.get_project_page(FOO)
        await repository.get_project_page(BAR)
        clock.now += 301
        upstream.on(PAGE, SILENT)
        asking = asyncio.create_task(repository.get_project_page(FOO))
        async with asyncio.timeout(10):
            while len(upstream.seen(PAGE)) == 1:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        by_hand(folder, FOO)
        await _noticed(repository, folder)
        assert not asking.done(), "it took too long to be of any use"
        for ask in (lambda: asking, lambda: repository.get_project_page(FOO)):
            if by_hand is refresh:
                assert (await ask()).freshness.stale_reason
            else:
                with pytest.raises(SourceTimeout):
                    await ask()


async def test_background_revalidation_is_coalesced(upstream: Upstream, folder: Path) -> None:
    """However many clients request the page while its index is silent."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    async with index(upstream, folder, clock=clock, stale_while_revalidate_s=300) as repository:
        await repository.get_project_page(FOO)
        clock.now += 301
        upstream.on(PAGE, SILENT)
        await repository.get_project_page(FOO)
        await asyncio.sleep(0)
        before = len(asyncio.all_tasks())
        for _ in range(50):
            await repository.get_project_page(FOO)
        assert len(asyncio.all_tasks()) <= before + 1


async def test_304_to_an_unconditional_request_is_an_error(
    upstream: Upstream, folder: Path
) -> None:
    """The page is not taken as validated, but served stale."""
    page = Reply(
        headers={"Content-Type": "text/html"}, body=b'<a href="foo-1.0.zip">foo-1.0.zip</a>'
    )
    upstream.on(PAGE, [page, Reply(status=304)])
    clock = Clock()
    async with index(upstream, folder, clock=clock) as repository:
        await repository.get_project_page(FOO)
        clock.now += 61
        assert "304" in ((await repository.get_project_page(FOO)).freshness.stale_reason or "")
