"""Files being written count: budget, disk, deadline and minimum rate hold while they grow."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.pace import TransferLimits
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.ownership import claim
from simple_repository_server.errors import TransferAborted
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Event, NotCached, TransferResumed
from simple_repository_server.resource import Resource
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import Built, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.upstream.client import Limits

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
BUDGET = 1_000_000
QUICK = Limits(connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=1, backoff_s=0.01)


def _wheel(version: str, size: int) -> Built:
    return build_wheel("foo", version, files={"d": os.urandom(size)}, compressed=False)


def _path(built: Built) -> str:
    return f"/files/{built.sha256[:2]}/{built.filename}"


class Cached:
    """A small cache in front of an index, with its events and its largest size."""

    def __init__(self, repository: FileCacheRepository, disk: CacheFolder) -> None:
        self.repository = repository
        self.disk = disk
        self.events: list[Event] = []
        self.most = 0

    async def resource(self, built: Built) -> Resource:
        """The resource of the wheel."""
        return await self.repository.get_resource(FOO, FileName(built.filename))

    async def read(self, built: Built) -> bytes:
        """All of the wheel."""
        async with (await self.resource(built)).open() as body:
            return b"".join([chunk async for chunk in body.chunks])

    def digests(self) -> set[str]:
        """The digests of the cached files."""
        return set(self.disk.files.digests())

    def size(self) -> int:
        """How many bytes are in its folder."""
        sizes = []
        for path in self.disk.folder.rglob("*"):
            try:
                sizes.append(path.stat().st_size if path.is_file() else 0)
            except FileNotFoundError:
                continue
        return sum(sizes)

    async def watch(self) -> None:
        """Record the largest size."""
        while True:
            self.most = max(self.most, self.size())
            await asyncio.sleep(0.002)


@asynccontextmanager
async def _cached(
    upstream: Upstream,
    folder: Path,
    *,
    max_bytes: int = BUDGET,
    limits: TransferLimits | None = None,
) -> AsyncIterator[Cached]:
    events: list[Event] = []
    disk = CacheFolder(folder / "cache", max_bytes=max_bytes, emit=events.append)
    files = FileCache(disk, limits=limits or TransferLimits(), emit=events.append)
    source = HttpRepository(upstream.simple, limits=QUICK, cache=disk)
    async with FileCacheRepository(source, files) as repository:
        cached = Cached(repository, disk)
        cached.events = events
        watching = asyncio.create_task(cached.watch())
        try:
            yield cached
        finally:
            watching.cancel()


async def test_a_file_larger_than_half_the_budget_is_streamed(
    upstream: Upstream, tmp_path: Path
) -> None:
    """It is served, checked, and not a byte of it is written."""
    wheel = _wheel("1", 3_000_000)
    publish_json(upstream, [wheel])
    async with _cached(upstream, tmp_path) as cached:
        assert await cached.read(wheel) == wheel.content
        assert cached.digests() == set()
    assert cached.most < 100_000
    assert [e.file for e in cached.events if isinstance(e, NotCached)] == [wheel.filename]


@pytest.mark.parametrize("digest", [True, False])
async def test_a_file_that_grows_too_large_is_streamed(
    upstream: Upstream, tmp_path: Path, digest: bool
) -> None:
    """Of unknown size it is cached until it is too large; its clients get it all the same."""
    wheel = _wheel("1", 3_000_000)
    publish_html(upstream, [wheel], hashes=digest)
    upstream.on(_path(wheel), Reply(body=wheel.content, length=-1, headers={"ETag": '"1"'}))
    async with _cached(upstream, tmp_path) as cached:
        assert await cached.read(wheel) == wheel.content
        assert cached.digests() == set()
    assert cached.most <= BUDGET // 2 + 100_000


async def test_a_file_without_validators_that_grows_too_large_is_aborted(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Where nothing distinguishes two versions, its transfer cannot be continued."""
    wheel = _wheel("1", 3_000_000)
    publish_html(upstream, [wheel], hashes=False)
    upstream.on(_path(wheel), Reply(body=wheel.content, length=-1, piece_delay_s=0.02))
    async with _cached(upstream, tmp_path) as cached:
        with pytest.raises(TransferAborted):
            await cached.read(wheel)
    assert cached.most <= BUDGET // 2 + 100_000


async def test_concurrent_files_share_the_budget(upstream: Upstream, tmp_path: Path) -> None:
    """Sixty files of a tenth of the budget at once: all are served, and the budget holds."""
    wheels = [_wheel(str(number), 100_000) for number in range(60)]
    publish_json(upstream, wheels)
    for wheel in wheels:
        upstream.on(_path(wheel), Reply(body=wheel.content, piece=20_000, piece_delay_s=0.05))
    async with _cached(upstream, tmp_path) as cached:
        contents = await asyncio.gather(*map(cached.read, wheels))
        assert contents == [wheel.content for wheel in wheels]
        await asyncio.sleep(0.2)
        assert cached.digests() != set()
    assert cached.most <= BUDGET * 4 // 3


async def test_a_full_cache_evicts_before_it_writes(upstream: Upstream, tmp_path: Path) -> None:
    """The least recently used file goes before the new one is written, and not after it."""
    wheels = [_wheel(str(number), 300_000) for number in range(5)]
    publish_json(upstream, wheels)
    async with _cached(upstream, tmp_path) as cached:
        for wheel in wheels:
            assert await cached.read(wheel) == wheel.content
            async with asyncio.timeout(5):
                while wheel.sha256 not in cached.digests():  # noqa: ASYNC110 - it is on a disk
                    await asyncio.sleep(0.01)
            for path in (cached.disk.folder / "files").rglob("?" * 62):
                status = path.stat()
                os.utime(path, (status.st_atime - 100, status.st_mtime - 100))
    assert cached.most <= BUDGET


async def test_a_page_larger_than_half_the_budget_is_not_cached(
    upstream: Upstream, tmp_path: Path
) -> None:
    """It is served all the same."""
    wheels = [_wheel(f"{number}.0", 10) for number in range(300)]
    publish_json(upstream, wheels)
    async with _cached(upstream, tmp_path, max_bytes=50_000) as cached:
        page = await cached.repository.get_project_page(FOO)
        assert len(page.files) == 300
        await asyncio.sleep(0.1)
    assert cached.most <= 50_000


async def test_the_smaller_of_two_budgets_on_one_folder_holds(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Neither server writes more than its own budget on top of what is there."""
    wheels = [_wheel(str(number), 200_000) for number in range(12)]
    publish_json(upstream, wheels)
    async with (
        _cached(upstream, tmp_path, max_bytes=2 * BUDGET) as large,
        _cached(upstream, tmp_path, max_bytes=BUDGET) as small,
    ):
        for wheel in wheels:
            assert await large.read(wheel) == wheel.content
        await asyncio.sleep(0.2)
        for path in (tmp_path / "cache" / "files").rglob("?" * 62):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        assert await small.read(wheels[0]) == wheels[0].content
        small.disk.evict()
        assert small.size() <= BUDGET
    assert large.most <= 2 * BUDGET * 4 // 3


def test_eviction_counts_partial_files(tmp_path: Path) -> None:
    """Whichever process writes them."""
    disk = CacheFolder(tmp_path / "cache", max_bytes=BUDGET)
    claim(disk.folder)
    for number in range(8):
        path = disk.files.path(f"{number:064x}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100_000))
        os.utime(path, (1000 + 100 * number, 1000 + 100 * number))
    assert disk.evict().evicted.files == 0
    (disk.folder / "partial").mkdir()
    (disk.folder / "partial" / "x.partial").write_bytes(bytes(500_000))
    disk.evict()
    assert len(list(disk.files.digests())) == 4


# --- deadlines -----------------------------------------------------------------------------------

LARGE = _wheel("1", 400_000)


async def _fails(cached: Cached) -> str:
    begun = time.monotonic()
    with pytest.raises(TransferAborted) as caught:
        async with asyncio.timeout(20):
            await cached.read(LARGE)
    assert time.monotonic() - begun < 15
    return str(caught.value)


async def test_a_transfer_that_is_resumed_too_slowly_is_aborted(
    upstream: Upstream, tmp_path: Path
) -> None:
    """An origin that sends some bytes with each attempt fails by its rate."""
    publish_json(upstream, [LARGE])

    def trickle(request: Request) -> Reply:
        start = 0
        if "range" in request.headers:
            start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        return Reply(body=LARGE.content, ranges=True, stop_after=70_000 if not start else 10)

    upstream.on(_path(LARGE), trickle)
    limits = TransferLimits(window_s=1.0, least_bytes=100_000)
    async with _cached(upstream, tmp_path, limits=limits) as cached:
        assert "too slowly" in await _fails(cached)
        count = len(upstream.seen(_path(LARGE)))
        await asyncio.sleep(0.3)
        assert len(upstream.seen(_path(LARGE))) == count
        assert not list((cached.disk.folder / "partial").iterdir())
    assert any(isinstance(event, TransferResumed) for event in cached.events)


async def test_a_transfer_that_trickles_is_aborted(upstream: Upstream, tmp_path: Path) -> None:
    """So does one that never breaks off and never finishes."""
    publish_json(upstream, [LARGE])
    upstream.on(_path(LARGE), Reply(body=LARGE.content, piece=100, piece_delay_s=0.05))
    limits = TransferLimits(window_s=0.5, least_bytes=50_000)
    async with _cached(upstream, tmp_path, limits=limits) as cached:
        assert "too slowly" in await _fails(cached)


async def test_all_attempts_share_one_deadline(upstream: Upstream, tmp_path: Path) -> None:
    """However fast it is resumed and however much comes each time."""
    publish_json(upstream, [LARGE])
    slow = Reply(
        body=LARGE.content, ranges=True, piece=10_000, piece_delay_s=0.1, stop_after=70_000
    )
    upstream.on(_path(LARGE), slow)
    limits = TransferLimits(total_s=1.5, slowest_bytes_per_s=10**12)
    async with _cached(upstream, tmp_path, limits=limits) as cached:
        assert "within" in await _fails(cached)


async def test_a_slow_reader_does_not_hold_a_file_open_for_ever(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Who still reads long after it is complete is cut off, and the file is closed."""
    publish_json(upstream, [LARGE])
    limits = TransferLimits(total_s=0.5, slowest_bytes_per_s=10**12)
    async with _cached(upstream, tmp_path, limits=limits) as cached:
        async with (await cached.resource(LARGE)).open() as body:
            chunks = aiter(body.chunks)
            await anext(chunks)
            await asyncio.sleep(1.2)
            with pytest.raises(TransferAborted, match="too long"):
                async for _ in chunks:
                    await asyncio.sleep(0.1)
        assert await cached.read(LARGE) == LARGE.content
