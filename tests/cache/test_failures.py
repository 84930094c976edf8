"""What a failure of an index costs the next client, and what it must not bring back."""

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


async def test_a_silent_index_is_waited_for_once(upstream: Upstream) -> None:
    """Retries of a client are told at once, `no-cache` or not; other projects are asked for."""
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


async def test_an_index_that_wants_to_be_left_alone_is(upstream: Upstream, folder: Path) -> None:
    """For one page; `cache refresh` asks it again, as somebody wants that now."""
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


async def test_a_failure_that_shows_at_once_does_not_count(upstream: Upstream) -> None:
    """The next client may be the first one that is lucky."""
    publish_json(upstream, [WHEEL])
    upstream.on(PAGE, Reply(status=503))
    async with HttpRepository(upstream.simple, limits=Limits(attempts=1)) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)
        publish_json(upstream, [WHEEL])
        assert (await repository.get_project_page(FOO)).files


@pytest.mark.parametrize("by_hand", [forget, refresh])
async def test_what_is_forgotten_during_an_outage_stays_forgotten(
    upstream: Upstream, folder: Path, by_hand: Callable[[Path, ProjectName], int]
) -> None:
    """The request under way then does not bring its page back; one to be refreshed still counts."""
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


async def test_a_page_that_is_confirmed_in_the_background_is_so_by_one_task(
    upstream: Upstream, folder: Path
) -> None:
    """However many ask for it while its index is silent."""
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


async def test_a_304_that_nobody_asked_for_says_nothing(upstream: Upstream, folder: Path) -> None:
    """A page that came without a validator is not confirmed by it, but served as stale."""
    page = Reply(
        headers={"Content-Type": "text/html"}, body=b'<a href="foo-1.0.zip">foo-1.0.zip</a>'
    )
    upstream.on(PAGE, [page, Reply(status=304)])
    clock = Clock()
    async with index(upstream, folder, clock=clock) as repository:
        await repository.get_project_page(FOO)
        clock.now += 61
        assert "304" in ((await repository.get_project_page(FOO)).freshness.stale_reason or "")
