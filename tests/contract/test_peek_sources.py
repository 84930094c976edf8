"""What the sources say without waiting: of an index while it is fresh, of a directory as it is."""

import asyncio
from pathlib import Path

import pytest

from simple_repository_server import (
    CachePolicy,
    FileName,
    HttpRepository,
    LocalRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    ProjectName,
    Repository,
)
from simple_repository_server.errors import ProjectNotFound, ResourceNotFound, SourceUnavailable
from simple_repository_server.model import RequestContext
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0")
NAME = FileName(WHEEL.filename)
METADATA = FileName(f"{WHEEL.filename}.metadata")
QUICK = Limits(connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=1, backoff_s=0.01)
REVALIDATE = RequestContext(revalidate=True)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with one wheel."""
    path = tmp_path / "packages"
    path.mkdir()
    (path / WHEEL.filename).write_bytes(WHEEL.content)
    return path


async def test_expired_page_is_not_peeked(upstream: Upstream) -> None:
    """An expired page needs a request, so the peek returns None and starts no work."""
    publish_json(upstream, [WHEEL], max_age=60)
    clock = Clock()
    policy = CachePolicy(stale_while_revalidate_s=600)
    async with HttpRepository(upstream.simple, clock=clock, policy=policy) as repository:
        page = await repository.get_project_page(FOO)
        projects = await repository.get_project_list()
        clock.now += 59
        assert repository.peek_project_page(FOO) is page
        assert repository.peek_project_list() is projects
        asked = len(upstream.requests)
        clock.now += 2
        assert repository.peek_project_page(FOO) is None
        assert repository.peek_resource(FOO, NAME) is None
        assert repository.peek_resource(FOO, METADATA) is None
        assert repository.peek_project_list() is None
        await asyncio.sleep(0.05)
        assert len(upstream.requests) == asked
        # Served once more while it is confirmed, by who may start that.
        assert await repository.get_project_page(FOO) is page


async def test_peek_with_revalidate_returns_none(upstream: Upstream) -> None:
    """`no-cache` requires a request to the index, under any wrapper."""
    publish_json(upstream, [WHEEL], max_age=60)
    source = HttpRepository(upstream.simple)
    wrapped = MetadataInjectorRepository(PrioritySelectedProjectsRepository([source]))
    async with wrapped:
        for repository in (source, wrapped):
            await repository.get_project_page(FOO)
            await repository.get_project_list()
            assert repository.peek_project_page(FOO) is not None
            assert repository.peek_project_page(FOO, context=REVALIDATE) is None
            assert repository.peek_resource(FOO, NAME, context=REVALIDATE) is None
            assert repository.peek_project_list(context=REVALIDATE) is None


async def test_negative_entry_is_peeked_until_it_expires(upstream: Upstream) -> None:
    """An absent project is reported by a peek as long as the negative entry is fresh."""
    publish_json(upstream, [WHEEL])
    clock = Clock()
    bar = ProjectName("bar")
    async with HttpRepository(upstream.simple, clock=clock, limits=QUICK) as repository:
        assert repository.peek_project_page(bar) is None
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(bar)
        with pytest.raises(ProjectNotFound):
            repository.peek_project_page(bar)
        with pytest.raises(ProjectNotFound):
            repository.peek_resource(bar, FileName("bar-1.0.tar.gz"))
        clock.now += 61
        assert repository.peek_project_page(bar) is None


async def test_stale_page_is_peeked_until_the_next_attempt(
    upstream: Upstream,
) -> None:
    """A page served stale because its index failed is peeked until the next attempt."""
    publish_json(upstream, [WHEEL], max_age=60)
    clock = Clock()
    async with HttpRepository(upstream.simple, clock=clock, limits=QUICK) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += 61
        upstream.on("/simple/foo/", Reply(status=503))
        assert await repository.get_project_page(FOO) is page
        assert repository.peek_project_page(FOO) is page
        assert page.freshness.stale_reason is not None
        clock.now += 6
        assert repository.peek_project_page(FOO) is None


async def _gone(repository: Repository) -> None:
    """Wait until nothing is said of the project any more, within a second and a little."""
    async with asyncio.timeout(2):
        while True:
            try:
                if repository.peek_resource(FOO, NAME) is None:
                    return
            except (ProjectNotFound, ResourceNotFound):
                return
            await asyncio.sleep(0.02)


async def test_removed_local_file_is_not_peeked(folder: Path) -> None:
    """Within a second the peek returns None, and after a scan the file is absent."""
    other = build_wheel("other")
    (folder / other.filename).write_bytes(other.content)
    clock = Clock()
    async with LocalRepository(folder, clock=clock) as repository:
        assert repository.peek_project_page(FOO) is None
        assert repository.peek_project_list() is None
        page = await repository.get_project_page(FOO)
        await repository.get_project_list()
        resource = await repository.get_resource(FOO, NAME)
        assert repository.peek_project_page(FOO) is page
        assert repository.peek_resource(FOO, NAME) is resource
        with pytest.raises(ProjectNotFound):
            repository.peek_project_page(ProjectName("bar"))
        (folder / WHEEL.filename).unlink()
        clock.now += 1
        assert repository.peek_project_page(FOO) is None
        assert repository.peek_resource(FOO, NAME) is None
        assert repository.peek_project_list() is None
        assert repository.peek_project_page(ProjectName("bar")) is None
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
        with pytest.raises(ProjectNotFound):
            repository.peek_project_page(FOO)


async def test_removed_local_file_is_not_peeked_by_the_real_clock(folder: Path) -> None:
    """The peek stops answering without any call of the coroutine."""
    async with LocalRepository(folder) as repository:
        await repository.get_resource(FOO, NAME)
        (folder / WHEEL.filename).unlink()
        await _gone(repository)


async def test_unreadable_directory_reports_no_absence(folder: Path) -> None:
    """If a directory cannot be read, peeks report no project as absent."""
    clock = Clock()
    async with LocalRepository(folder, clock=clock) as repository:
        await repository.get_project_list()
        folder.rename(folder.with_name("elsewhere"))
        clock.now += 1
        with pytest.raises(SourceUnavailable):
            await repository.get_project_list()
        assert repository.peek_project_list() is None
        assert repository.peek_project_page(ProjectName("bar")) is None
