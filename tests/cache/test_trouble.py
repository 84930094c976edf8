"""The cache when things go wrong: clients that leave, disks, other processes, the clock."""

import asyncio
import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from simple_repository_server.cache.downloads import DEFAULT_LIMITS, DEFAULT_MEMORY
from simple_repository_server.cache.file_ref import FileRef
from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.front import TransferMemory
from simple_repository_server.cache.pace import TransferLimits
from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.ownership import claim
from simple_repository_server.disk.partial import PartialFile, abandoned
from simple_repository_server.errors import ResourceNotFound, TransferAborted
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import CacheFailed, CacheRecovered, Event, ignore
from simple_repository_server.resource import ByteRange, Resource
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.transforms.file_cache import (
    DEFAULT_RECHECK_S,
    FileCacheRepository,
)
from simple_repository_server.upstream.client import Limits
from tests.waiting import until

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
SIZE = 700_000
WHEEL = build_wheel("foo", "1.0", files={"foo/data.bin": os.urandom(SIZE)}, compressed=False)
NAME = FileName(WHEEL.filename)
PATH = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
#: Every file is written while it arrives, however small, and soon read back from the disk.
NO_MEMORY = TransferMemory(whole_file_bytes=0, recent_bytes=1, pending_bytes=100_000)
QUICK = Limits(connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=1, backoff_s=0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache lies."""
    return tmp_path / "cache"


@asynccontextmanager
async def _cached(
    upstream: Upstream,
    folder: Path,
    *,
    emit: Callable[[Event], None] = ignore,
    offline: bool = False,
    recheck_s: float = DEFAULT_RECHECK_S,
    memory: TransferMemory = DEFAULT_MEMORY,
    limits: TransferLimits = DEFAULT_LIMITS,
    new_file: Callable[[Path], PartialFile] = PartialFile,
) -> AsyncIterator[FileCacheRepository]:
    disk = CacheFolder(folder, new_file=new_file, emit=emit)
    source = HttpRepository(
        upstream.simple, limits=QUICK, cache=disk, policy=CachePolicy(offline=offline)
    )
    files = FileCache(disk, memory=memory, limits=limits, emit=emit)
    async with FileCacheRepository(
        source, files, cached_only=offline, recheck_s=recheck_s
    ) as repository:
        yield repository


async def _content(resource: Resource, wanted: ByteRange | None = None) -> bytes:
    async with resource.open(wanted) as body:
        return b"".join([chunk async for chunk in body.chunks])


async def _read(repository: FileCacheRepository, wanted: ByteRange | None = None) -> bytes:
    return await _content(await repository.get_resource(FOO, NAME), wanted)


async def _stored(repository: FileCacheRepository) -> Resource:
    for _ in range(200):
        resource = await repository.get_resource(FOO, NAME)
        if resource.path is not None:
            return resource
        await asyncio.sleep(0.02)
    raise AssertionError("it was not stored in the cache")


def _partials(folder: Path) -> list[Path]:
    return list((folder / "partial").glob("*"))


def _open_files(folder: Path) -> list[Path]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(entry.readlink())
    return [path for path in found if path.is_relative_to(folder)]


async def test_a_client_that_leaves_at_once_leaves_nothing_open(
    upstream: Upstream, folder: Path
) -> None:
    """Who goes away while the file for a transfer is being made does not leave it behind."""
    publish_json(upstream, [WHEEL])
    created, client_left = threading.Event(), threading.Event()

    def slow(scratch: Path) -> PartialFile:
        file = PartialFile(scratch)
        created.set()
        client_left.wait(10)
        return file

    async with _cached(upstream, folder, memory=NO_MEMORY, new_file=slow) as repository:
        resource = await repository.get_resource(FOO, NAME)
        reading = asyncio.create_task(_content(resource))
        await until(created.is_set)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        client_left.set()
        assert await _read(repository) == WHEEL.content
        await _stored(repository)
        await until(lambda: not _open_files(folder) and not _partials(folder))


async def test_closing_before_a_transfer_has_begun_tells_its_readers(
    upstream: Upstream, folder: Path
) -> None:
    """A transfer that is stopped before its first step leaves nobody waiting, and nothing open."""
    publish_json(upstream, [WHEEL])
    files = FileCache(CacheFolder(folder))
    async with HttpRepository(upstream.simple, limits=QUICK) as source, files:
        origin = await source.get_resource(FOO, NAME)
        download = await files.downloads.join(FileRef(origin, FOO, NAME))
        assert download is not None
    with pytest.raises(TransferAborted):
        async with asyncio.timeout(2):
            await download.has_begun()
    assert not _open_files(folder)
    assert files.downloads.running(FileRef(origin, FOO, NAME)) is None


async def test_closing_waits_until_partial_files_are_removed(
    upstream: Upstream, folder: Path
) -> None:
    """Closing waits until the files of stopped transfers are removed."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content, piece_delay_s=0.5))
    async with _cached(upstream, folder, memory=NO_MEMORY) as repository:
        resource = await repository.get_resource(FOO, NAME)
        async with resource.open():
            pass
        assert _partials(folder)
    assert not _partials(folder)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EPERM])
async def test_a_file_whose_access_time_cannot_be_set_is_served(
    upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A file on a disk that is read-only, or of another user, is served, whatever its age."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await _read(repository)
        path = (await _stored(repository)).path
    assert path is not None
    os.utime(path, (path.stat().st_atime - 100, path.stat().st_mtime - 100))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.utime", refuse)
    async with _cached(upstream, folder) as repository:
        assert await _read(repository) == WHEEL.content
    assert len(upstream.seen(PATH)) == 1


async def test_files_without_permission_count_as_absent(
    upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache whose folders belong to somebody else is no use, and no error."""
    publish_json(upstream, [WHEEL])
    looked = Path.stat

    def refuse(path: Path, **options: Any) -> os.stat_result:
        if "files" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied")
        return looked(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    async with _cached(upstream, folder) as repository:
        assert await _read(repository) == WHEEL.content


class _Unreadable(PartialFile):
    """A file that takes bytes and does not return them."""

    @override
    def read(self, start: int, length: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


async def test_what_cannot_be_read_back_is_read_from_its_origin(
    upstream: Upstream, folder: Path
) -> None:
    """A disk that takes a file and does not give it back costs nobody the file."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder, memory=NO_MEMORY, new_file=_Unreadable) as repository:
        resource = await repository.get_resource(FOO, NAME)
        async with resource.open() as body:
            got = b""
            async for chunk in body.chunks:
                got += chunk
                await asyncio.sleep(0.05)
    assert got == WHEEL.content


async def test_projects_are_recorded_again_after_the_folder_was_deleted(
    upstream: Upstream, folder: Path
) -> None:
    """Files stored since are listed when offline."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await _read(repository)
        await _stored(repository)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        await asyncio.sleep(1.1)
        await _read(repository)
        await _stored(repository)
    assert (folder / "served" / "foo").exists()


async def test_a_file_served_from_the_cache_is_recorded_for_its_project(
    upstream: Upstream, folder: Path
) -> None:
    """A project whose file is there already is listed offline, too, once that was asked for."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await _read(repository)
        await _stored(repository)
    (folder / "served" / "foo").unlink()
    async with _cached(upstream, folder) as repository:
        await _read(repository)
    assert len(upstream.seen(PATH)) == 1
    async with _cached(upstream, folder, offline=True) as repository:
        assert (await repository.get_project_list()).names == (FOO,)


async def test_offline_what_stays_the_same_is_the_same_object(
    upstream: Upstream, folder: Path
) -> None:
    """Looking again what is there makes no new page and no new list; metadata is not there."""
    publish_json(upstream, [WHEEL, build_wheel("foo", "2.0")])
    async with _cached(upstream, folder) as repository:
        await _read(repository)
        await _stored(repository)
    async with _cached(upstream, folder, offline=True, recheck_s=0) as repository:
        page = await repository.get_project_page(FOO)
        assert len(page.files) == 1
        assert await repository.get_project_page(FOO) is page
        names = await repository.get_project_list()
        assert await repository.get_project_list() is names
        with pytest.raises(ResourceNotFound):
            await repository.get_resource(FOO, FileName(f"{NAME}.metadata"))


async def test_a_stored_file_counts_towards_the_disk_usage(
    upstream: Upstream, folder: Path
) -> None:
    """The size of a stored file is reported to the cache folder, which evicts by it."""
    told: list[int] = []

    class Counting(CacheFolder):
        @override
        def record_write(self, size: int) -> None:
            told.append(size)
            super().record_write(size)

    publish_json(upstream, [WHEEL])
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, FileCache(Counting(folder))) as repository:
        await _read(repository)
        await _stored(repository)
    assert len(WHEEL.content) in told


async def test_a_range_far_into_a_cold_file_does_not_wait_for_it(
    upstream: Upstream, folder: Path
) -> None:
    """Who goes on with a large file gets the rest at once, while all of it comes for the next."""
    limits = TransferLimits(ahead_bytes=100_000, small_range_bytes=100_000)
    publish_json(upstream, [WHEEL])
    whole = Reply(body=WHEEL.content, piece_delay_s=0.2)
    part = Reply(body=WHEEL.content, ranges=True)
    upstream.on(PATH, lambda request: part if "range" in request.headers else whole)
    async with _cached(upstream, folder, limits=limits) as repository:
        async with asyncio.timeout(1):
            found = await _read(repository, ByteRange(500_000, 700_000))
        assert found == WHEEL.content[500_000:700_000]
        await _stored(repository)


@pytest.mark.parametrize("how", ["replaced", "removed"])
async def test_a_file_that_is_just_replaced_is_served(
    upstream: Upstream, folder: Path, how: str
) -> None:
    """Another process fetched it, too, or somebody removed it: clients do not notice."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await _read(repository)
        resource = await _stored(repository)
        assert resource.path is not None
        resource.path.unlink()
        if how == "replaced":
            resource.path.write_bytes(WHEEL.content)
            os.utime(resource.path, (1, 1))
        assert await _content(resource) == WHEEL.content
        assert await _content(resource, ByteRange(10, 20)) == WHEEL.content[10:20]


async def test_what_was_under_way_does_not_end_a_pause(folder: Path) -> None:
    """A disk that fails is said to fail once, though something begun before still succeeds."""
    events: list[Event] = []
    async with CacheFolder(folder, emit=events.append) as disk:
        disk.record_failure(OSError(28, "No space left on device"))
        disk.record_write(10)
        disk.record_failure(OSError(28, "No space left on device"))
    assert [type(event) for event in events] == [CacheFailed]
    assert CacheRecovered not in map(type, events)


async def test_a_disk_that_failed_is_not_written_for_a_while(
    upstream: Upstream, folder: Path
) -> None:
    """No file is created there meanwhile, and clients get theirs from the origin."""
    publish_json(upstream, [WHEEL])
    disk = CacheFolder(folder)
    async with (
        HttpRepository(upstream.simple, limits=QUICK) as source,
        FileCacheRepository(source, FileCache(disk)) as repository,
    ):
        disk.record_failure(OSError(28, "No space left on device"))
        assert await _read(repository) == WHEEL.content
        await asyncio.sleep(0.1)
        assert not list(folder.rglob("*.partial"))
        assert (await repository.get_resource(FOO, NAME)).path is None


async def test_files_from_the_future_do_not_push_out_the_others(folder: Path) -> None:
    """After the clock was set back, what it had dated goes first, not what is used now."""
    now = time.time()
    disk = CacheFolder(folder, max_bytes=100_000, clock=lambda: now)
    claim(folder)
    for name, used_at in (("future", now + 10 * 24 * 3600), ("used", now - 60)):
        path = folder / "files" / "aa" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(80_000))
        os.utime(path, (used_at, used_at))
    disk.evict()
    assert [path.name for path in (folder / "files" / "aa").iterdir()] == ["used"]


async def test_what_a_crash_left_goes_whatever_its_time(folder: Path) -> None:
    """A file of a process that is gone is removed, also when the clock was set back since."""
    folder.mkdir()
    path = folder / "x.partial"
    path.write_bytes(b"half")
    future = time.time() + 10 * 24 * 3600
    os.utime(path, (future, future))
    assert list(abandoned(folder, time.time())) == [(path, 4)]


async def test_a_disk_without_locks_leaves_nothing_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no file can be locked none is kept, and none stays open."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OSError, match="No locks"):
        PartialFile(folder)
    assert not _open_files(folder)
    assert not list(folder.iterdir())


def test_the_cache_is_pruned_in_every_event_loop(folder: Path) -> None:
    """A cache that was closed can be opened again by another event loop, and keeps its budget."""
    disk = CacheFolder(folder, max_bytes=1)

    async def use() -> bool:
        async with disk:
            await asyncio.sleep(0.05)
            return any("_evict_loop" in repr(task) for task in asyncio.all_tasks())

    assert asyncio.run(use())
    assert asyncio.run(use())


async def test_a_folder_made_again_is_private(upstream: Upstream, folder: Path) -> None:
    """Deleted under the running server it comes back as it was: for its user alone."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        shutil.rmtree(folder)
        await _read(repository)
        await _stored(repository)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.joinpath("CACHEDIR.TAG").exists()


def test_others_whose_clock_is_wrong_do_not_remove_what_just_began(tmp_path: Path) -> None:
    """A file is never lost in the moment between its creation and its lock."""
    scratch = tmp_path / "cache" / "partial"
    claim(tmp_path / "cache")
    PartialFile(scratch).close()
    ended = threading.Event()

    def tidy_up() -> None:
        while not ended.is_set():
            for path, _ in abandoned(scratch, time.time() + 3600):
                path.unlink(missing_ok=True)

    others = threading.Thread(target=tidy_up)
    others.start()
    try:
        for _ in range(3000):
            file = PartialFile(scratch)
            assert file.path.exists()
            file.close()
    finally:
        ended.set()
        others.join()
