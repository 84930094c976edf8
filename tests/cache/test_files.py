"""Files in the cache: one transfer for all, nothing wrong ever kept or completed."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from simple_repository_server.cache.downloads import DEFAULT_MEMORY
from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.front import TransferMemory
from simple_repository_server.disk.folder import DEFAULT_TIMINGS, CacheFolder, FolderTimings
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.errors import (
    RepositoryError,
    ResourceNotFound,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import (
    CacheDamaged,
    CacheFailed,
    CacheRecovered,
    Event,
    TransferResumed,
    ignore,
)
from simple_repository_server.resource import ByteRange, Resource
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import Built, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.upstream.client import Limits
from tests.waiting import until

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
SIZE = 700_000
WHEEL = build_wheel("foo", "1.0", files={"foo/data.bin": os.urandom(SIZE)}, compressed=False)
NAME = FileName(WHEEL.filename)
PATH = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
#: Every file is written while it arrives, however small, and soon read back from the disk.
LITTLE_MEMORY = TransferMemory(whole_file_bytes=0, recent_bytes=50_000, pending_bytes=100_000)
QUICK = Limits(connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=1, backoff_s=0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache lies."""
    return tmp_path / "cache"


@asynccontextmanager
async def _cached(
    upstream: Upstream,
    folder: Path,
    emit: Callable[[Event], None] = ignore,
    memory: TransferMemory = DEFAULT_MEMORY,
    timings: FolderTimings = DEFAULT_TIMINGS,
    new_file: Callable[[Path], PartialFile] = PartialFile,
) -> AsyncIterator[FileCacheRepository]:
    disk = CacheFolder(folder, timings=timings, new_file=new_file, emit=emit)
    files = FileCache(disk, memory=memory, emit=emit)
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with FileCacheRepository(source, files) as repository:
        yield repository


async def _read(
    repository: FileCacheRepository, wanted: ByteRange | None = None, name: FileName = NAME
) -> bytes:
    resource = await repository.get_resource(FOO, name)
    return await _content(resource, wanted)


async def _content(resource: Resource, wanted: ByteRange | None = None) -> bytes:
    async with resource.open(wanted) as body:
        return b"".join([chunk async for chunk in body.chunks])


async def _stored(repository: FileCacheRepository) -> Resource:
    """The file, once it is in the cache."""
    for _ in range(200):
        resource = await repository.get_resource(FOO, NAME)
        if resource.path is not None:
            return resource
        await asyncio.sleep(0.02)
    raise AssertionError("it was not stored in the cache")


def _files(folder: Path) -> list[Path]:
    return [path for path in (folder / "files").rglob("*") if path.is_file()]


def _partials(folder: Path) -> list[Path]:
    return list((folder / "partial").glob("*"))


async def test_a_cached_file_is_served_without_the_upstream(
    upstream: Upstream, folder: Path
) -> None:
    """A file that came through once is served from the disk, by its path, after a restart too."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        assert await _read(repository) == WHEEL.content
        await _stored(repository)
    async with _cached(upstream, folder) as repository:
        resource = await repository.get_resource(FOO, NAME)
        assert resource.path is not None
        assert resource.path.read_bytes() == WHEEL.content
        assert await _content(resource) == WHEEL.content
        assert await _read(repository, ByteRange(1000, 2000)) == WHEEL.content[1000:2000]
    assert len(upstream.seen(PATH)) == 1
    assert not _partials(folder)


async def test_concurrent_clients_share_one_transfer(upstream: Upstream, folder: Path) -> None:
    """Twenty-five clients, also such as come late or want the end, cost one transfer."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content, piece_delay_s=0.03))

    async def late(repository: FileCacheRepository, number: int) -> bytes:
        await asyncio.sleep(number * 0.01)
        if number % 5 == 4:
            return await _read(repository, ByteRange(SIZE - 1000, SIZE))
        return await _read(repository)

    async with _cached(upstream, folder) as repository:
        found = await asyncio.gather(*(late(repository, number) for number in range(25)))
    for number, content in enumerate(found):
        whole = number % 5 != 4
        assert content == (WHEEL.content if whole else WHEEL.content[SIZE - 1000 : SIZE])
    assert len(upstream.seen(PATH)) == 1


async def test_a_file_is_streamed_while_it_is_stored(upstream: Upstream, folder: Path) -> None:
    """The first bytes are there long before the last ones have come."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content, piece_delay_s=0.1))
    async with _cached(upstream, folder) as repository:
        resource = await repository.get_resource(FOO, NAME)
        async with resource.open() as body:
            first = await anext(aiter(body.chunks))
            assert WHEEL.content.startswith(first)
            assert upstream.sent < SIZE // 2
            assert body.length == len(WHEEL.content)


async def test_a_transfer_survives_the_client_that_began_it(
    upstream: Upstream, folder: Path
) -> None:
    """The transfer goes on for the next one who asks."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content, piece_delay_s=0.02))
    async with _cached(upstream, folder) as repository:
        resource = await repository.get_resource(FOO, NAME)
        async with resource.open() as body:
            await anext(aiter(body.chunks))
        assert await _content(await _stored(repository)) == WHEEL.content
    assert len(upstream.seen(PATH)) == 1


async def test_a_slow_reader_gets_all_of_it(upstream: Upstream, folder: Path) -> None:
    """A reader that falls behind what is in memory reads the rest from the disk."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder, memory=LITTLE_MEMORY) as repository:
        resource = await repository.get_resource(FOO, NAME)
        parts = []
        async with resource.open() as body:
            async for chunk in body.chunks:
                parts.append(chunk)
                await asyncio.sleep(0.02)
    assert b"".join(parts) == WHEEL.content


@pytest.mark.parametrize("validator", [{"ETag": '"v1"'}, {}])
async def test_an_interrupted_transfer_is_resumed(
    upstream: Upstream, folder: Path, validator: dict[str, str]
) -> None:
    """What was received is not fetched again, and only the log mentions it."""
    publish_json(upstream, [WHEEL])
    broken = Reply(body=WHEEL.content, ranges=True, stop_after=300_000, headers=validator)
    whole = Reply(body=WHEEL.content, ranges=True, headers=validator)
    upstream.on(PATH, [broken, whole])
    events: list[Event] = []
    async with _cached(upstream, folder, events.append) as repository:
        assert await _read(repository) == WHEEL.content
    first, second = upstream.seen(PATH)
    assert "range" not in first.headers
    start = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 300_000
    assert second.headers.get("if-range") == validator.get("ETag")
    assert [type(event) for event in events] == [TransferResumed]


async def test_an_origin_without_ranges_is_resumed_from_the_start(
    upstream: Upstream, folder: Path
) -> None:
    """When such an origin sends the whole file again, what was received already is skipped."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, [Reply(body=WHEEL.content, stop_after=300_000), Reply(body=WHEEL.content)])
    async with _cached(upstream, folder) as repository:
        assert await _read(repository) == WHEEL.content
        await _stored(repository)


WRONG = bytes(len(WHEEL.content))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(body=WRONG), TransferAborted),
        (Reply(body=WHEEL.content[:-1] + b"!"), TransferAborted),
        (Reply(body=WHEEL.content[:-1], length=-1), TransferAborted),
        (Reply(body=WHEEL.content + b"more", length=-1), TransferAborted),
        (Reply(body=WHEEL.content, stop_after=300_000), TransferAborted),
        (Reply(body=WHEEL.content + b"more"), SourceUnavailable),
        (Reply(status=503), SourceUnavailable),
        (Reply(status=404), ResourceNotFound),
        (Reply(hang_up=True), SourceUnavailable),
        (Reply(reset=True), SourceUnavailable),
    ],
    ids=["zeros", "last byte", "short", "long", "cut", "sizes", "503", "404", "hang up", "reset"],
)  # fmt: skip
async def test_a_defective_file_is_neither_completed_nor_stored(
    upstream: Upstream, folder: Path, reply: Reply, error: type[RepositoryError]
) -> None:
    """No client gets the end of a defective file, it is not stored, and a retry succeeds."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, reply)
    async with _cached(upstream, folder) as repository:
        got = b""
        with pytest.raises(error):
            async with (await repository.get_resource(FOO, NAME)).open() as body:
                async for chunk in body.chunks:
                    got += chunk
        assert len(got) < len(WHEEL.content)
        async with asyncio.timeout(20):
            while _partials(folder):  # noqa: ASYNC110 - it is on a disk
                await asyncio.sleep(0.01)
        assert not _files(folder)
        upstream.on(PATH, Reply(body=WHEEL.content))
        assert await _read(repository) == WHEEL.content


@pytest.mark.parametrize("damage", ["flipped", "truncated", "longer", "empty", "gone"])
async def test_corruption_on_disk_is_found_after_a_restart(
    upstream: Upstream, folder: Path, damage: str
) -> None:
    """A corrupt file is noticed before any of it is sent, and fetched again."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await _read(repository)
        path = (await _stored(repository)).path
    assert path is not None
    content = {
        "flipped": WHEEL.content[:1000] + bytes([WHEEL.content[1000] ^ 1]) + WHEEL.content[1001:],
        "truncated": WHEEL.content[:-1],
        "longer": WHEEL.content + b"!",
        "empty": b"",
        "gone": None,
    }[damage]
    path.unlink() if content is None else path.write_bytes(content)
    events: list[Event] = []
    async with _cached(upstream, folder, events.append) as repository:
        assert await _read(repository) == WHEEL.content
        assert await _content(await _stored(repository)) == WHEEL.content
    assert [type(event) for event in events] == [CacheDamaged] * (damage != "gone")


async def test_corruption_at_run_time_is_found_by_modification_time(
    upstream: Upstream, folder: Path
) -> None:
    """A file that was modified since it was verified is not served."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await _read(repository)
        path = (await _stored(repository)).path
        assert path is not None
        path.write_bytes(WRONG)
        await asyncio.sleep(1.1)
        assert await _read(repository) == WHEEL.content


async def test_a_small_range_of_a_cold_file_is_just_that(upstream: Upstream, folder: Path) -> None:
    """A request for the directory of a wheel does not download all of it."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        assert (
            await _read(repository, ByteRange(600_000, 600_100)) == WHEEL.content[600_000:600_100]
        )
    assert upstream.sent < 10_000
    assert not _files(folder)


async def test_one_file_of_two_indexes_is_stored_once(upstream: Upstream, folder: Path) -> None:
    """Files are stored by digest: what one index has brought is not fetched from another one."""
    with Upstream() as other:
        for one in (upstream, other):
            publish_json(one, [WHEEL])
        async with _cached(upstream, folder) as repository:
            await _read(repository)
            await _stored(repository)
        async with _cached(other, folder) as repository:
            assert await _read(repository) == WHEEL.content
        assert not other.seen(PATH)
    assert len(_files(folder)) == 1


async def test_a_file_without_a_digest_is_revalidated(upstream: Upstream, folder: Path) -> None:
    """It is served from the cache while its origin confirms its version."""
    publish_html(upstream, [WHEEL], hashes=False)
    upstream.on(PATH, Reply(body=WHEEL.content, headers={"ETag": '"1"'}, ranges=True))
    clock = Clock()
    async with _cached_at(upstream, folder, clock) as repository:
        assert await _read(repository) == WHEEL.content
        await _stored(repository)
        fetched = len(upstream.seen(PATH))
        assert await _read(repository) == WHEEL.content
        assert len(upstream.seen(PATH)) == fetched
        clock.now += 61
        assert await _read(repository) == WHEEL.content
        assert [r.method for r in upstream.seen(PATH)[fetched:]] == ["HEAD"]
        clock.now += 61
        other = build_wheel("foo", "1.0", files={"foo/data.bin": b"other"})
        upstream.on(PATH, Reply(body=other.content, headers={"ETag": '"2"'}))
        assert await _read(repository) == other.content


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def _cached_at(
    upstream: Upstream, folder: Path, clock: Clock
) -> AsyncIterator[FileCacheRepository]:
    files = FileCache(CacheFolder(folder, clock=clock))
    async with FileCacheRepository(HttpRepository(upstream.simple, limits=QUICK), files) as found:
        yield found


async def test_a_hidden_file_is_not_served_from_the_cache(upstream: Upstream, folder: Path) -> None:
    """A file that was removed from its page is not served, even if it is in the cache."""
    publish_json(upstream, [WHEEL], max_age=0)
    async with _cached(upstream, folder) as repository:
        await _read(repository)
        await _stored(repository)
        publish_json(upstream, [build_wheel("foo", "2.0")], max_age=0)
        with pytest.raises(ResourceNotFound):
            await repository.get_resource(FOO, NAME)


class SmallDisk:
    """A disk that is full after so many bytes; it creates the files that are on it."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes

    def new_file(self, scratch: Path) -> PartialFile:
        disk = self

        class OnIt(PartialFile):
            @override
            def append(self, chunks: Sequence[bytes]) -> None:
                disk.free_bytes -= sum(map(len, chunks))
                if disk.free_bytes < 0:
                    raise OSError(28, "No space left on device")
                super().append(chunks)

        return OnIt(scratch)


async def test_a_full_disk_is_survived(upstream: Upstream, folder: Path) -> None:
    """Clients get the file all the same, checked; it is said once; with room it is kept again."""
    publish_json(upstream, [WHEEL])
    events: list[Event] = []
    disk = SmallDisk(free_bytes=300_000)
    timings = FolderTimings(failure_pause_s=0.2)
    async with _cached(
        upstream, folder, events.append, timings=timings, new_file=disk.new_file
    ) as repository:
        contents = await asyncio.gather(*(_read(repository) for _ in range(5)))
        assert all(content == WHEEL.content for content in contents)
        assert await _read(repository) == WHEEL.content
        assert not _files(folder)
        await until(lambda: bool(events))  # readers do not wait for the disk
        disk.free_bytes = 10_000_000
        async with asyncio.timeout(10):  # until the pause after the failure is over
            while (await repository.get_resource(FOO, NAME)).path is None:
                assert await _read(repository) == WHEEL.content
                await asyncio.sleep(0.02)
    kinds = [type(event) for event in events]
    assert kinds == [CacheFailed, CacheRecovered]


async def test_a_wrong_file_on_a_full_disk_is_not_completed(
    upstream: Upstream, folder: Path
) -> None:
    """Without the cache the digest counts as much as with it."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WRONG))
    disk = SmallDisk(free_bytes=300_000)
    async with _cached(upstream, folder, new_file=disk.new_file) as repository:
        with pytest.raises(TransferAborted):
            await _read(repository)


async def test_a_cache_folder_deleted_at_run_time_is_recreated(
    upstream: Upstream, folder: Path
) -> None:
    """No request fails after the folder is deleted, and files are stored again."""
    publish_json(upstream, [WHEEL])
    async with _cached(upstream, folder) as repository:
        await _read(repository)
        await _stored(repository)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
        await asyncio.sleep(1.1)
        assert await _read(repository) == WHEEL.content
        assert await _content(await _stored(repository)) == WHEEL.content


async def test_closing_leaves_no_partial_files(upstream: Upstream, folder: Path) -> None:
    """Closing stops transfers; their readers get an error, and partial files are removed."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content, piece_delay_s=0.5))
    async with _cached(upstream, folder) as repository:
        resource = await repository.get_resource(FOO, NAME)
        reading = asyncio.create_task(_content(resource))
        await asyncio.sleep(0.2)
    with pytest.raises(TransferAborted):
        await reading
    assert not _files(folder)
    await asyncio.sleep(0.1)
    assert not _partials(folder)


def _by_ranges(built: Built) -> Callable[[Request], Reply]:
    def script(request: Request) -> Reply:
        return Reply(body=built.content, ranges="range" in request.headers)

    return script


async def test_five_hundred_clients_at_once(upstream: Upstream, folder: Path) -> None:
    """They all get the file, for one transfer."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, _by_ranges(WHEEL))
    async with _cached(upstream, folder) as repository:
        contents = await asyncio.gather(*(_read(repository) for _ in range(500)))
    assert all(content == WHEEL.content for content in contents)
    assert len(upstream.seen(PATH)) == 1


@pytest.mark.parametrize("names", [["files"], ["partial"], ["files", "partial"], ["thesis.txt"]])
async def test_a_folder_of_somebody_else_is_not_entered(folder: Path, names: list[str]) -> None:
    """A folder without our tag is refused, whatever the names in it are."""
    for name in names:
        (folder / name).mkdir(parents=True)
    with pytest.raises(RepositoryError, match="is not a simple-repository-server cache"):
        async with CacheFolder(folder):
            pass
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
