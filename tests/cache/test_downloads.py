"""Transfers from origins that break off, lie about sizes and send in tiny pieces."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from typing_extensions import override

from simple_repository_server.cache.downloads import DEFAULT_LIMITS, DEFAULT_MEMORY
from simple_repository_server.cache.file_ref import FileRef
from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.front import TransferMemory
from simple_repository_server.cache.pace import TransferLimits
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.errors import TransferAborted
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.resource import Body, ByteRange, Resource
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import Built, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.upstream.client import Limits

P = ParamSpec("P")
T = TypeVar("T")

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
SIZE = 700_000
WHEEL = build_wheel("foo", "1.0", files={"foo/data.bin": os.urandom(SIZE)}, compressed=False)
NAME = FileName(WHEEL.filename)
PATH = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
QUICK = Limits(connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=1, backoff_s=0.01)
HELD_BACK = 64 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache lies."""
    return tmp_path / "cache"


@asynccontextmanager
async def _cached(
    upstream: Upstream,
    folder: Path,
    *,
    memory: TransferMemory = DEFAULT_MEMORY,
    limits: TransferLimits = DEFAULT_LIMITS,
    new_file: Callable[[Path], PartialFile] = PartialFile,
) -> AsyncIterator[FileCacheRepository]:
    files = FileCache(CacheFolder(folder, new_file=new_file), memory=memory, limits=limits)
    async with FileCacheRepository(HttpRepository(upstream.simple, limits=QUICK), files) as found:
        yield found


async def _until_it_fails(repository: FileCacheRepository) -> bytes:
    """What a reader gets before it is told that all was wrong."""
    got = b""
    with pytest.raises(TransferAborted):
        async with (await repository.get_resource(FOO, NAME)).open() as body:
            async for chunk in body.chunks:
                got += chunk
    return got


async def _read(repository: FileCacheRepository) -> bytes:
    async with (await repository.get_resource(FOO, NAME)).open() as body:
        return b"".join([chunk async for chunk in body.chunks])


def _files(folder: Path) -> list[Path]:
    return [path for path in (folder / "files").rglob("*") if path.is_file()]


async def test_the_end_of_a_wrong_file_is_held_back(upstream: Upstream, folder: Path) -> None:
    """No reader gets the last 64 kB of a file whose digest turns out to be wrong."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content[:-1] + b"!"))
    async with _cached(upstream, folder) as repository:
        got = await _until_it_fails(repository)
    assert len(got) <= len(WHEEL.content) - HELD_BACK


async def test_a_body_is_truncated_if_the_origin_refuses_the_rest(
    upstream: Upstream, folder: Path
) -> None:
    """A body that was begun is truncated if the origin refuses the request for the rest."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, [Reply(body=WHEEL.content, stop_after=300_000), Reply(status=403)])
    async with _cached(upstream, folder) as repository:
        got = await _until_it_fails(repository)
    assert 0 < len(got) <= 300_000


async def test_no_reader_gets_more_than_was_announced(upstream: Upstream, folder: Path) -> None:
    """A file that is larger when its transfer goes on does not fill up what was begun."""
    publish_html(upstream, [WHEEL])
    larger = Reply(body=WHEEL.content[:300_000] + bytes(2_000_000))
    upstream.on(PATH, [Reply(body=WHEEL.content, stop_after=300_000), larger])
    async with _cached(upstream, folder) as repository:
        got = await _until_it_fails(repository)
    assert len(got) <= len(WHEEL.content) - HELD_BACK


async def test_an_origin_that_sends_parts_of_parts(upstream: Upstream, folder: Path) -> None:
    """Where each answer has only some of what was asked for, all of them together are the file."""
    publish_json(upstream, [WHEEL])
    size = len(WHEEL.content)

    def script(request: Request) -> Reply:
        if "range" not in request.headers:
            return Reply(body=WHEEL.content, stop_after=200_000)
        start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        stop = min(size, start + 200_000)
        place = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        return Reply(status=206, headers=place, body=WHEEL.content[start:stop])

    upstream.on(PATH, script)
    async with _cached(upstream, folder) as repository:
        assert await _read(repository) == WHEEL.content


async def test_a_transfer_is_resumed_as_long_as_bytes_arrive(
    upstream: Upstream, folder: Path
) -> None:
    """However often it is interrupted, it is resumed while each attempt brings some bytes."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content, ranges=True, stop_after=100_000))
    limits = TransferLimits(backoff_s=0.001)
    async with _cached(upstream, folder, limits=limits) as repository:
        assert await _read(repository) == WHEEL.content
    assert len(upstream.seen(PATH)) >= 7


async def test_a_file_that_is_too_long_is_not_requested_again(
    upstream: Upstream, folder: Path
) -> None:
    """What is longer than its page says is wrong, with or without a digest, and stays so."""
    publish_json(upstream, [WHEEL], extra={"hashes": {}})
    headers = {"ETag": '"1"'}
    upstream.on(PATH, Reply(body=WHEEL.content + b"more", length=-1, headers=headers))
    async with _cached(upstream, folder) as repository:
        await _until_it_fails(repository)
        await asyncio.sleep(0.05)
    assert not _files(folder)
    assert len([request for request in upstream.seen(PATH) if request.method == "GET"]) == 1


async def test_a_late_reader_reads_from_the_disk(upstream: Upstream, folder: Path) -> None:
    """A reader that falls behind reads from the disk, as memory is for the front of a transfer."""
    places: list[int] = []

    class Recording(PartialFile):
        @override
        def read(self, start: int, length: int) -> bytes:
            places.append(start)
            return super().read(start, length)

    publish_json(upstream, [WHEEL])
    memory = TransferMemory(whole_file_bytes=0, recent_bytes=200_000, pending_bytes=200_000)
    async with _cached(upstream, folder, memory=memory, new_file=Recording) as repository:
        resource = await repository.get_resource(FOO, NAME)
        async with resource.open() as body, resource.open() as late:
            assert b"".join([chunk async for chunk in body.chunks]) == WHEEL.content
            assert b"".join([chunk async for chunk in late.chunks]) == WHEEL.content
    assert 0 in places


class _Crumbs(Resource):
    """A file that comes in tiny pieces."""

    content = WHEEL.content[:300_000]
    cache_key = "crumbs"
    size = len(content)
    sha256 = sha256(content).hexdigest()
    hashes = {"sha256": sha256}  # noqa: RUF012

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, self.size, 500):
                yield self.content[start : start + 500]
                await asyncio.sleep(0)

        yield Body(chunks=chunks(), length=self.size, total=self.size)


async def test_a_file_that_arrives_in_crumbs_is_read_in_large_pieces(folder: Path) -> None:
    """A late reader does not get each of the pieces in which the file arrived."""
    async with FileCache(CacheFolder(folder)) as files:
        resource = await files.resource(_Crumbs(), FOO, NAME)
        async with resource.open() as body, resource.open() as late:
            assert b"".join([chunk async for chunk in body.chunks]) == _Crumbs.content
            chunks = [chunk async for chunk in late.chunks]
    assert b"".join(chunks) == _Crumbs.content
    assert len(chunks) < 10


class _SlowThreads(CacheFolder):
    """A disk that takes its time for each thing it is to do."""

    @override
    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(0.3)
        return await super().run(work, *args, **kwargs)


async def test_closing_stores_what_clients_have_received(upstream: Upstream, folder: Path) -> None:
    """A server that is stopped right after a download stores the file, however busy its disk."""
    publish_json(upstream, [WHEEL])
    files = FileCache(_SlowThreads(folder))
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, files) as repository:
        assert await _read(repository) == WHEEL.content
    assert [path.read_bytes() for path in _files(folder)] == [WHEEL.content]


async def test_closing_does_not_wait_for_unfinished_transfers(
    upstream: Upstream, folder: Path
) -> None:
    """Closing cancels what is under way and removes its file."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content, piece=1000, piece_delay_s=0.05))
    async with _cached(upstream, folder) as repository:
        async with (await repository.get_resource(FOO, NAME)).open() as body:
            await anext(aiter(body.chunks))
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert not _files(folder)
    assert not list((folder / "partial").glob("*"))


class _Hanging(CacheFolder):
    """A disk that takes no bytes until it is `free`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.free = asyncio.Event()

    @override
    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if isinstance(work, partial) and work.func.__name__ == "_append":
            await self.free.wait()
        return await super().run(work, *args, **kwargs)


async def test_all_transfers_have_one_share_of_memory(upstream: Upstream, folder: Path) -> None:
    """A disk that hangs holds up any number of transfers before they exceed the memory."""
    wheels = [
        build_wheel("foo", f"{number}.0", files={"d": os.urandom(2_000_000)}, compressed=False)
        for number in range(10)
    ]
    publish_json(upstream, wheels, metadata=False)
    disk = _Hanging(folder)
    files = FileCache(disk, memory=TransferMemory(total_bytes=2_000_000))
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, files) as repository, AsyncExitStack() as stack:
        names = [FileName(wheel.filename) for wheel in wheels]
        origins = [await source.get_resource(FOO, name) for name in names]
        bodies = [
            await stack.enter_async_context((await repository.get_resource(FOO, name)).open())
            for name in names
        ]
        refs = [FileRef(origin, FOO, name) for origin, name in zip(origins, names, strict=True)]
        running = [download for ref in refs if (download := files.downloads.running(ref))]
        assert len(running) == 10
        before, now = -1, 0
        while now > before:
            await asyncio.sleep(0.5)
            before, now = now, sum(download.received for download in running)
        disk.free.set()
        assert now < 8_000_000, "of 20 MB: each may have one piece more than its part"
        for wheel, body in zip(wheels, bodies, strict=True):
            assert b"".join([chunk async for chunk in body.chunks]) == wheel.content


class _Slow(CacheFolder):
    """A disk that creates no files until it is `free`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.free = asyncio.Event()

    @override
    async def create(self, size: int | None = None) -> PartialFile:
        await self.free.wait()
        return await super().create(size)


async def test_a_small_file_does_not_wait_for_the_disk(upstream: Upstream, folder: Path) -> None:
    """Clients have all of it, one transfer serves those that come later, and then it is stored."""
    publish_json(upstream, [WHEEL])
    disk = _Slow(folder)
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, FileCache(disk)) as repository:
        async with asyncio.timeout(10):
            assert await _read(repository) == WHEEL.content
            assert await _read(repository) == WHEEL.content
        assert not _files(folder)
        disk.free.set()
    assert [path.read_bytes() for path in _files(folder)] == [WHEEL.content]
    assert len(upstream.seen(PATH)) == 1


async def test_small_files_do_not_exceed_their_share_of_memory(
    upstream: Upstream, folder: Path
) -> None:
    """While a slow disk holds up those in memory, further ones wait for a file of their own."""
    wheels = [build_wheel("foo", f"{n}.0", files={"d": bytes(100_000)}) for n in range(10)]
    publish_json(upstream, wheels, metadata=False)
    disk = _Slow(folder)
    size = len(wheels[0].content)
    files = FileCache(disk, memory=TransferMemory(total_bytes=4 * size + 4))
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, files) as repository:

        async def read(wheel: Built) -> bytes:
            resource = await repository.get_resource(FOO, FileName(wheel.filename))
            async with resource.open() as body:
                return b"".join([chunk async for chunk in body.chunks])

        reading = [asyncio.create_task(read(wheel)) for wheel in wheels]
        await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(reading, timeout=0.5)
        done = [task for task in reading if task.done()]
        assert 1 <= len(done) <= 2, "half of the memory is for files that are there as a whole"
        disk.free.set()
        assert await asyncio.gather(*reading) == [wheel.content for wheel in wheels]


async def test_small_files_count_while_slow_clients_read_them(
    upstream: Upstream, folder: Path
) -> None:
    """Files that are stored but still held in memory for a reader leave less space for others."""
    wheels = [build_wheel("foo", f"{n}.0", files={"d": bytes(100_000)}) for n in range(4)]
    publish_json(upstream, wheels, metadata=False)
    size = len(wheels[0].content)
    files = FileCache(CacheFolder(folder), memory=TransferMemory(total_bytes=4 * size + 4))
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, files) as repository:
        names = [FileName(wheel.filename) for wheel in wheels]
        in_memory = []
        async with AsyncExitStack() as stack:
            for name in names:
                origin = await source.get_resource(FOO, name)
                resource = await repository.get_resource(FOO, name)
                await stack.enter_async_context(resource.open())
                download = files.downloads.running(FileRef(origin, FOO, name))
                assert download is not None
                in_memory.append(download.file is None)
                async with asyncio.timeout(10):
                    while (await repository.get_resource(FOO, name)).path is None:  # noqa: ASYNC110  # it is on a disk
                        await asyncio.sleep(0.01)
        assert in_memory == [True, True, False, False], "half of the memory"
        for path in _files(folder):
            path.unlink()
        await _until_absent(repository, names[0])
        origin = await source.get_resource(FOO, names[0])
        download = await files.downloads.join(FileRef(origin, FOO, names[0]))
        assert download is not None
        assert download.file is None, "it fits again once they have left"


async def _until_absent(repository: FileCacheRepository, name: FileName) -> None:
    async with asyncio.timeout(10):
        while (await repository.get_resource(FOO, name)).path is not None:  # noqa: ASYNC110  # it is on a disk
            await asyncio.sleep(0.05)


async def test_a_file_that_waits_for_the_disk_is_not_fetched_twice(
    upstream: Upstream, folder: Path
) -> None:
    """A client that comes once memory is free joins the transfer that waits for its file."""
    wheels = [build_wheel("foo", f"{n}.0", files={"d": bytes(100_000)}) for n in range(2)]
    publish_json(upstream, wheels, metadata=False)
    blocking, wanted = (f"/files/{wheel.sha256[:2]}/{wheel.filename}" for wheel in wheels)
    upstream.on(blocking, Reply(body=bytes(len(wheels[0].content))))  # fails in the end
    disk = _Slow(folder)
    files = FileCache(disk, memory=TransferMemory(total_bytes=2 * len(wheels[0].content) + 99))
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, files):
        names = [FileName(wheel.filename) for wheel in wheels]
        refs = [FileRef(await source.get_resource(FOO, name), FOO, name) for name in names]
        failing = await files.downloads.join(refs[0])
        assert failing is not None
        waiting = asyncio.create_task(files.downloads.join(refs[1]))
        async with asyncio.timeout(10):
            while failing.error is None:  # noqa: ASYNC110  # it gives no signal
                await asyncio.sleep(0.01)
        late = asyncio.create_task(files.downloads.join(refs[1]))
        await asyncio.sleep(0.05)
        disk.free.set()
        assert await late is await waiting
    assert len(upstream.seen(wanted)) <= 1


async def test_a_failed_transfer_is_not_joined(upstream: Upstream, folder: Path) -> None:
    """Right after a failure the next client gets the file from another transfer."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, [Reply(body=bytes(len(WHEEL.content))), Reply(body=WHEEL.content)])
    async with _cached(upstream, folder) as repository:
        await _until_it_fails(repository)
        assert await _read(repository) == WHEEL.content
