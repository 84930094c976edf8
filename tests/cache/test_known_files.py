"""Warm files: no disk and no thread on the way of a request, and still no stale knowledge."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from typing_extensions import override

from simple_repository_server.cache.files import FileCache
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.model import FilesMode
from simple_repository_server.names import FileName
from simple_repository_server.repository import Repository
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.web.index import IndexApp
from tests.asgi import ask
from tests.cache.indexes import FOO, QUICK

P = ParamSpec("P")
T = TypeVar("T")

pytestmark = pytest.mark.anyio

WHEELS = [build_wheel("foo", f"{number}.0") for number in range(30)]
NAMES = [FileName(wheel.filename) for wheel in WHEELS]


class CountingFolder(CacheFolder):
    """A cache folder that counts what is handed over to its threads."""

    handed_over = 0

    @override
    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.handed_over += 1
        return await super().run(work, *args, **kwargs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache is."""
    return tmp_path / "cache"


@asynccontextmanager
async def _cached(upstream: Upstream, disk: CacheFolder) -> AsyncIterator[FileCacheRepository]:
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, FileCache(disk)) as repository:
        yield repository


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110  # what another process does gives no signal
            await asyncio.sleep(0.02)


async def _until_checked(disk: CountingFolder) -> None:
    """Without a request, only the checks are handed over to threads."""
    before = disk.handed_over
    await _until(lambda: disk.handed_over > before + 2)


def _path_of(repository: Repository, name: FileName) -> Path | None:
    """The path of the file as it is answered from memory."""
    resource = repository.peek_resource(FOO, name)
    return None if resource is None else resource.path


async def _store(repository: Repository, name: FileName) -> Path:
    """The file in the cache, once it has come through."""
    async with (await repository.get_resource(FOO, name)).open() as body:
        async for _ in body.chunks:
            pass
    async with asyncio.timeout(10):
        while (path := (await repository.get_resource(FOO, name)).path) is None:  # noqa: ASYNC110  # it is on a disk
            await asyncio.sleep(0.01)
    return path


@pytest.mark.parametrize("mode", [FilesMode.REDIRECT, FilesMode.CACHE])
async def test_warm_files_cost_a_few_checks_a_second_whatever_their_number(
    upstream: Upstream, folder: Path, mode: FilesMode
) -> None:
    """Thousands of requests over seconds cost no hand-over to a thread but that of the checks."""
    publish_json(upstream, WHEELS, max_age=600)
    disk = CountingFolder(folder)
    async with _cached(upstream, disk) as repository:
        app = IndexApp(repository, files=mode)
        if mode is FilesMode.CACHE:
            for name in NAMES:
                await _store(repository, name)
        for name in NAMES:
            await ask(app, f"/resources/foo/{name}")
        before, requests = disk.handed_over, 0
        begun = asyncio.get_running_loop().time()
        while (took := asyncio.get_running_loop().time() - begun) < 3:
            for name in NAMES:
                response = await ask(app, f"/resources/foo/{name}")
                assert response.status == (302 if mode is FilesMode.REDIRECT else 200)
                requests += 1
        assert requests > 300
        assert disk.handed_over - before <= 2 * took + 2, "about one a second"


async def test_a_file_that_another_process_stores_is_used_soon(
    upstream: Upstream, folder: Path
) -> None:
    """A file that was absent is answered from the cache once another process has it there."""
    publish_json(upstream, WHEELS)
    async with (
        _cached(upstream, CacheFolder(folder)) as here,
        _cached(upstream, CacheFolder(folder)) as there,
    ):
        assert (await here.get_resource(FOO, NAMES[0])).path is None
        assert here.peek_resource(FOO, NAMES[0]) is not None
        path = await _store(there, NAMES[0])
        # Nothing is known of it any more: the next request looks it up.
        await _until(lambda: here.peek_resource(FOO, NAMES[0]) is None)
        assert (await here.get_resource(FOO, NAMES[0])).path == path


@pytest.mark.parametrize("how", ["evicted", "replaced"])
async def test_a_file_that_another_process_changes_is_looked_up_again(
    upstream: Upstream, folder: Path, how: str
) -> None:
    """An evicted or replaced file is noticed by the check after a request for it."""
    publish_json(upstream, WHEELS)
    async with _cached(upstream, CacheFolder(folder)) as repository:
        path = await _store(repository, NAMES[0])
        assert _path_of(repository, NAMES[0]) == path
        path.unlink()
        if how == "replaced":
            path.write_bytes(b"other bytes")
        await _until(lambda: _path_of(repository, NAMES[0]) is None)
        assert (await repository.get_resource(FOO, NAMES[0])).path is None


async def test_an_eviction_is_noticed_before_the_file_is_requested_again(
    upstream: Upstream, folder: Path
) -> None:
    """A file that nobody requests for a while is not answered from memory once it is evicted."""
    publish_json(upstream, WHEELS)
    disk = CountingFolder(folder)
    async with _cached(upstream, disk) as repository:
        evicted, stays = [await _store(repository, name) for name in NAMES[:2]]
        await _until_checked(disk)
        evicted.unlink()
        await _until_checked(disk)
        assert _path_of(repository, NAMES[0]) is None
        assert _path_of(repository, NAMES[1]) == stays


async def test_a_scan_for_changes_does_not_count_as_use(upstream: Upstream, folder: Path) -> None:
    """Files that are checked because their folder changed stay as old as their last request."""
    publish_json(upstream, WHEELS)
    now = 1_700_000_000.0
    disk = CountingFolder(folder, clock=lambda: now)
    async with _cached(upstream, disk) as repository:
        path = await _store(repository, NAMES[0])
        await _until_checked(disk)
        used_at = path.stat().st_atime
        now += 3600
        (path.parent / "other").touch()
        await _until_checked(disk)
        assert path.stat().st_atime == used_at


async def test_requests_from_memory_count_as_use(upstream: Upstream, folder: Path) -> None:
    """A file that is answered from memory is not evicted as the least recently used one."""
    publish_json(upstream, WHEELS)
    now = 1_700_000_000.0
    async with _cached(upstream, CacheFolder(folder, clock=lambda: now)) as repository:
        path = await _store(repository, NAMES[0])
        now += 3600
        assert _path_of(repository, NAMES[0]) == path
        await _until(lambda: path.stat().st_atime == now)
