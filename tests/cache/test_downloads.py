"""Transfers from origins that break off, lie about sizes and send in tiny pieces."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import pytest
from typing_extensions import override

from simple_repository_server.cache.downloads import DEFAULT_MEMORY
from simple_repository_server.cache.file_ref import FileRef
from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.front import TransferMemory
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.errors import TransferAborted
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.resource import Body, ByteRange, Resource
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.upstream.client import Limits

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
    upstream: Upstream, folder: Path, memory: TransferMemory = DEFAULT_MEMORY
) -> AsyncIterator[FileCacheRepository]:
    files = FileCache(CacheFolder(folder), memory=memory)
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
    """Of a file that proves wrong with its last byte nobody has the last 64 kB."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content[:-1] + b"!"))
    async with _cached(upstream, folder) as repository:
        got = await _until_it_fails(repository)
    assert len(got) <= len(WHEEL.content) - HELD_BACK


async def test_an_origin_that_refuses_to_go_on_cuts_the_body(
    upstream: Upstream, folder: Path
) -> None:
    """What has begun breaks off, whatever the origin answers when it is asked for the rest."""
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


async def test_a_transfer_that_breaks_off_again_and_again(
    upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it gets on it goes on."""
    monkeypatch.setattr("simple_repository_server.cache.downloads._BACKOFF_S", 0.001)
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content, ranges=True, stop_after=100_000))
    async with _cached(upstream, folder) as repository:
        assert await _read(repository) == WHEEL.content
    assert len(upstream.seen(PATH)) >= 7


async def test_a_file_that_is_too_long_is_not_asked_for_again(
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


async def test_memory_is_for_the_front_alone(
    upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who falls behind reads from the disk, as only so much is kept in memory."""
    places: list[int] = []
    read = PartialFile.read

    def noted(self: PartialFile, start: int, length: int) -> bytes:
        places.append(start)
        return read(self, start, length)

    monkeypatch.setattr(PartialFile, "read", noted)
    publish_json(upstream, [WHEEL])
    memory = TransferMemory(whole_file_bytes=0, recent_bytes=200_000, pending_bytes=200_000)
    async with _cached(upstream, folder, memory) as repository:
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


async def test_tiny_pieces_are_handed_out_in_large_ones(folder: Path) -> None:
    """Who joins late is not given each of the pieces in which a file came."""
    async with FileCache(CacheFolder(folder)) as files:
        resource = await files.resource(_Crumbs(), FOO, NAME)
        async with resource.open() as body, resource.open() as late:
            assert b"".join([chunk async for chunk in body.chunks]) == _Crumbs.content
            chunks = [chunk async for chunk in late.chunks]
    assert b"".join(chunks) == _Crumbs.content
    assert len(chunks) < 10


class _SlowToKeep(CacheFolder):
    """A disk that takes its time for each thing it is to do."""

    @override
    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        await asyncio.sleep(0.3)
        return await super().run(work, *arguments)


async def test_what_clients_have_is_kept_at_the_end(upstream: Upstream, folder: Path) -> None:
    """A server that is stopped right after a download keeps the file, however busy its disk."""
    publish_json(upstream, [WHEEL])
    files = FileCache(_SlowToKeep(folder))
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, files) as repository:
        assert await _read(repository) == WHEEL.content
    assert [path.read_bytes() for path in _files(folder)] == [WHEEL.content]


async def test_what_nobody_has_yet_is_given_up_at_the_end(upstream: Upstream, folder: Path) -> None:
    """The end does not wait for a transfer that is under way."""
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
    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        if isinstance(work, partial) and work.func.__name__ == "_append":
            await self.free.wait()
        return await super().run(work, *arguments)


async def test_all_transfers_have_one_share_of_memory(upstream: Upstream, folder: Path) -> None:
    """However many there are: a disk that hangs holds them up before they fill the memory."""
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
