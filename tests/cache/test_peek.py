"""Peeks through the file cache: what was found on disk a moment ago, be it nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from simple_repository_server.cache.file_ref import FileRef
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
        while not await condition():  # noqa: ASYNC110 - nobody says when it is so
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


async def test_a_file_that_is_not_here_is_peeked_by_its_address(
    upstream: Upstream, folder: Path
) -> None:
    """After one lookup a redirect needs the disk no more, while nobody stores the file."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await repository.get_project_page(FOO)
        assert repository.peek_resource(FOO, NAME) is None
        asked = await repository.get_resource(FOO, NAME)
        peeked = repository.peek_resource(FOO, NAME)
        assert peeked is not None
        assert peeked.location == asked.location
        assert peeked.location is not None
        assert peeked.path is None
    assert not upstream.seen(PATH)


async def test_what_was_downloaded_is_here_at_once(upstream: Upstream, folder: Path) -> None:
    """That it was not here is forgotten as soon as a transfer of ours is complete."""
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


async def test_a_look_that_was_overtaken_by_a_download_says_nothing(
    upstream: Upstream, folder: Path
) -> None:
    """Who looked before the file was there does not make it be taken for absent afterwards."""
    publish_json(upstream, [WHEEL])
    disk = CacheFolder(folder)
    store = disk.files = SlowStore(disk.files.folder, folder / "partial")
    files = FileCache(disk)
    async with FileCacheRepository(HttpRepository(upstream.simple), files) as repository:
        origin = await repository.source.get_resource(FOO, NAME)
        looking = asyncio.create_task(repository.get_resource(FOO, NAME))
        await asyncio.to_thread(store.looking.wait, 5)
        await files.downloads.join(FileRef(origin, FOO, NAME))

        async def complete() -> bool:
            return files.downloads.running(FileRef(origin, FOO, NAME)) is None

        await _until(complete)
        store.go_on.set()
        assert (await looking).path is not None
        peeked = repository.peek_resource(FOO, NAME)
        assert peeked is not None
        assert peeked.path is not None


async def test_a_file_that_another_process_removed_is_peeked_no_more(
    upstream: Upstream, folder: Path
) -> None:
    """Its removal is noticed soon; until then its content is fetched when it is opened."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        resource = await _fill(repository)
        assert resource.path is not None
        assert repository.peek_resource(FOO, NAME) is not None
        resource.path.unlink()

        async def forgotten() -> bool:
            return repository.peek_resource(FOO, NAME) is None

        await _until(forgotten)
        assert await _content(resource) == WHEEL.content


async def test_what_has_to_be_written_down_is_no_matter_of_a_peek(
    upstream: Upstream, folder: Path
) -> None:
    """A file that lies there is peeked once it is noted that its project has some, for offline."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await _fill(repository)
    (folder / "served" / "foo").unlink()
    disk = CacheFolder(folder)
    files = FileCache(disk)
    async with FileCacheRepository(HttpRepository(upstream.simple), files) as repository:
        await repository.get_project_page(FOO)
        assert await files.lookup(WHEEL.sha256) is not None
        assert repository.peek_resource(FOO, NAME) is None
        assert not (folder / "served" / "foo").exists()
        await repository.get_resource(FOO, NAME)
        assert repository.peek_resource(FOO, NAME) is not None
        assert (folder / "served" / "foo").exists()


async def test_a_file_without_a_digest_is_not_peeked(upstream: Upstream, folder: Path) -> None:
    """Which content its address has is on the disk, and may have to be asked."""
    publish_html(upstream, [WHEEL], hashes=False)
    async with _cached(upstream, folder) as repository:
        await repository.get_resource(FOO, NAME)
        assert repository.peek_resource(FOO, NAME) is None


async def test_offline_no_more_is_peeked_than_is_there(upstream: Upstream, folder: Path) -> None:
    """The page shows what is kept, and neither a file that is not nor metadata is said to be."""
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


async def test_offline_the_list_is_a_matter_of_the_disk(folder: Path) -> None:
    """A source that knows its list does not tell projects of which no file is kept."""
    source = MemoryRepository()
    source.add(NAME, WHEEL.content)
    files = FileCache(CacheFolder(folder))
    async with FileCacheRepository(source, files, cached_only=True) as repository:
        assert (await repository.get_project_list()).names == ()
        assert source.peek_project_list() is not None
        assert repository.peek_project_list() is None


async def test_offline_what_another_process_fetched_is_served_with_its_page(
    upstream: Upstream, folder: Path
) -> None:
    """A file that was not here a moment ago is served as soon as the page shows it."""
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
