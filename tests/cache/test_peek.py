"""Peeks through the file cache: the last lookup on disk counts for a second, hit or miss."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.disk.blobs import BlobStore, FoundBlob
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.errors import ResourceNotFound
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.resource import Resource
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL, OTHER = build_wheel("foo", "1.0"), build_wheel("foo", "2.0")
NAME = FileName(WHEEL.filename)
PATH = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache lies."""
    return tmp_path / "cache"


@asynccontextmanager
async def _cached(
    upstream: Upstream, folder: Path, *, offline: bool = False
) -> AsyncIterator[FileCacheRepository]:
    disk = CacheFolder(folder)
    source = HttpRepository(upstream.simple, cache=disk, policy=CachePolicy(offline=offline))
    async with FileCacheRepository(source, FileCache(disk), cached_only=offline) as repository:
        yield repository


async def _content(resource: Resource) -> bytes:
    async with resource.open() as body:
        return b"".join([chunk async for chunk in body.chunks])


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await condition():  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)


async def _fill(repository: FileCacheRepository) -> Resource:
    """Bring the file into the cache; the resource once it is there."""
    assert await _content(await repository.get_resource(FOO, NAME)) == WHEEL.content
    await _until(lambda: _is_peeked(repository))
    resource = repository.peek_resource(FOO, NAME)
    assert resource is not None
    return resource


async def _is_peeked(repository: FileCacheRepository) -> bool:
    """Whether a peek has the file by its path, after asking."""
    await repository.get_resource(FOO, NAME)
    peeked = repository.peek_resource(FOO, NAME)
    return peeked is not None and peeked.path is not None


async def test_peek_redirects_for_a_second_after_a_lookup_missed(
    upstream: Upstream, folder: Path
) -> None:
    """The disk is not looked up again within that second."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await repository.get_project_page(FOO)
        assert repository.peek_resource(FOO, NAME) is None
        resource = await repository.get_resource(FOO, NAME)
        peeked = repository.peek_resource(FOO, NAME)
        assert peeked is not None
        assert peeked.location == resource.location
        assert peeked.location is not None
        assert peeked.path is None
        await asyncio.sleep(1.1)
        assert repository.peek_resource(FOO, NAME) is None
    assert not upstream.seen(PATH)


async def test_complete_download_replaces_the_remembered_miss(
    upstream: Upstream, folder: Path
) -> None:
    """The file is served from the cache at once."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        absent = await repository.get_resource(FOO, NAME)
        assert absent.path is None
        resource = await _fill(repository)
        assert resource.path is not None
        assert resource.path.read_bytes() == WHEEL.content
    assert len(upstream.seen(PATH)) == 1


class SlowStore(BlobStore):
    """Files on a disk that takes its time to say that one is not there."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        super().__init__(folder, scratch)
        self.looking, self.go_on = threading.Event(), threading.Event()

    @override
    def find(self, sha256: str, now: float) -> FoundBlob | None:
        found = super().find(sha256, now)
        self.looking.set()
        self.go_on.wait(5)
        return found


async def test_lookup_overtaken_by_a_download_is_discarded(
    upstream: Upstream, folder: Path
) -> None:
    """A miss found before the download ended is not remembered."""
    publish_json(upstream, [WHEEL])
    disk = CacheFolder(folder)
    store = disk.files = SlowStore(disk.files.folder, folder / "partial")
    files = FileCache(disk)
    async with FileCacheRepository(HttpRepository(upstream.simple), files) as repository:
        origin = await repository.source.get_resource(FOO, NAME)
        looking = asyncio.create_task(repository.get_resource(FOO, NAME))
        await asyncio.to_thread(store.looking.wait, 5)
        await files.download(origin, FOO, NAME)

        async def complete() -> bool:
            return files.running(origin) is None

        await _until(complete)
        store.go_on.set()
        assert (await looking).path is not None
        peeked = repository.peek_resource(FOO, NAME)
        assert peeked is not None
        assert peeked.path is not None


async def test_file_evicted_by_another_process_is_not_peeked_after_a_second(
    upstream: Upstream, folder: Path
) -> None:
    """Until then its open descriptor is still served."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        resource = await _fill(repository)
        assert resource.path is not None
        resource.path.unlink()
        assert await _content(resource) == WHEEL.content
        await repository.get_resource(FOO, NAME)
        await asyncio.sleep(1.1)
        assert repository.peek_resource(FOO, NAME) is None


async def test_peek_writes_nothing(upstream: Upstream, folder: Path) -> None:
    """A cached file is peeked once its project is recorded as cached, for offline."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await _fill(repository)
    (folder / "served" / "foo").unlink()
    disk = CacheFolder(folder)
    files = FileCache(disk)
    async with FileCacheRepository(HttpRepository(upstream.simple), files) as repository:
        await repository.get_project_page(FOO)
        assert await files.find(WHEEL.sha256) is not None
        assert repository.peek_resource(FOO, NAME) is None
        assert not (folder / "served" / "foo").exists()
        await repository.get_resource(FOO, NAME)
        assert repository.peek_resource(FOO, NAME) is not None
        assert (folder / "served" / "foo").exists()


async def test_file_without_a_digest_is_not_peeked(upstream: Upstream, folder: Path) -> None:
    """Its content is known by its URL only, on disk or at its origin."""
    publish_html(upstream, [WHEEL], hashes=False)
    async with _cached(upstream, folder) as repository:
        await repository.get_resource(FOO, NAME)
        assert repository.peek_resource(FOO, NAME) is None


async def test_offline_peek_agrees_with_the_coroutine(upstream: Upstream, folder: Path) -> None:
    """Neither lists nor serves a file or metadata that is not cached."""
    publish_json(upstream, [WHEEL, OTHER])
    async with _cached(upstream, folder) as repository:
        await _fill(repository)
    async with _cached(upstream, folder, offline=True) as repository:
        assert repository.peek_project_page(FOO) is None
        page = await repository.get_project_page(FOO)
        assert [file.filename for file in page.files] == [NAME]
        assert repository.peek_project_page(FOO) is page
        await repository.get_project_list()
        assert repository.peek_project_list() is None
        assert repository.peek_resource(FOO, NAME) is None
        assert await _is_peeked(repository)
        for name in (OTHER.filename, f"{NAME}.metadata"):
            with pytest.raises(ResourceNotFound):
                await repository.get_resource(FOO, FileName(name))
            with pytest.raises(ResourceNotFound):
                repository.peek_resource(FOO, FileName(name))


async def test_offline_list_is_not_peeked(folder: Path) -> None:
    """A source that knows its list does not show projects without cached files."""
    source = MemoryRepository()
    source.add(NAME, WHEEL.content)
    files = FileCache(CacheFolder(folder))
    async with FileCacheRepository(source, files, cached_only=True) as repository:
        assert (await repository.get_project_list()).names == ()
        assert source.peek_project_list() is not None
        assert repository.peek_project_list() is None


async def test_offline_file_fetched_by_another_process_is_served(
    upstream: Upstream, folder: Path
) -> None:
    """As soon as the page lists it."""
    publish_json(upstream, [WHEEL, OTHER])
    async with _cached(upstream, folder) as other:
        await other.get_project_page(FOO)
        await _until(lambda: _lies(folder / "pages"))
        async with _cached(upstream, folder, offline=True) as repository:
            with pytest.raises(ResourceNotFound):
                await repository.get_resource(FOO, NAME)
            await _fill(other)
            page = await repository.get_project_page(FOO)
            assert page.find(NAME) is not None
            assert (await repository.get_resource(FOO, NAME)).path is not None


async def _lies(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))
