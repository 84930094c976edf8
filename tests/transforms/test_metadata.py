"""Core metadata for every wheel: where it comes from, what it costs, when it is not announced."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec

import pytest
from typing_extensions import override

from simple_repository_server import (
    FileName,
    HttpRepository,
    MemoryRepository,
    MetadataInjectorRepository,
    ProjectName,
)
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.metadata_store import MetadataStore
from simple_repository_server.errors import ResourceNotFound, SourceUnavailable
from simple_repository_server.observe.events import Event, MetadataUnreadable
from simple_repository_server.testing.distributions import Built, build_sdist, build_wheel, zip_of
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from simple_repository_server.upstream.client import Limits
from tests.waiting import until_asked_again

P = ParamSpec("P")

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0", requires=["bar>=2"])
QUICK = Limits(
    connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=2, backoff_s=0.01, probe_first_s=0.05
)


@asynccontextmanager
async def _over(upstream: Upstream, **options: Any) -> AsyncIterator[MetadataInjectorRepository]:
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with MetadataInjectorRepository(source, **options) as repository:
        yield repository


async def _metadata(repository: MetadataInjectorRepository, filename: str) -> bytes:
    resource = await repository.get_resource(FOO, FileName(f"{filename}.metadata"))
    async with resource.open() as body:
        return b"".join([chunk async for chunk in body.chunks])


async def _announced(repository: MetadataInjectorRepository, filename: str) -> Any:
    file = (await repository.get_project_page(FOO)).find(filename)
    assert file is not None
    return file.core_metadata


def _place(built: Built) -> str:
    return f"/files/{built.sha256[:2]}/{built.filename}"


async def test_a_large_remote_wheel_costs_little(upstream: Upstream) -> None:
    """The metadata of a wheel of 160 MB costs less than 200 kB, and the second time nothing."""
    block = os.urandom(1024 * 1024)
    files = {f"large/data_{n:03}.bin": block for n in range(160)}
    files |= {
        f"large/module_{n:05}/with_a_long_name_as_real_ones_have.py": b"" for n in range(9000)
    }
    wheel = build_wheel("foo", "1.0", files=files, compressed=False)
    assert len(wheel.content) > 150_000_000
    publish_html(upstream, [wheel])
    async with _over(upstream) as repository:
        assert await _announced(repository, wheel.filename) is True
        upstream.forget()
        assert await _metadata(repository, wheel.filename) == wheel.metadata
        assert upstream.sent < 200_000
        assert len(upstream.requests) <= 3
        upstream.forget()
        assert await _metadata(repository, wheel.filename) == wheel.metadata
        assert await _announced(repository, wheel.filename) == {"sha256": wheel.metadata_sha256}
        assert upstream.requests == []


async def test_what_upstream_announces_is_taken_from_there(upstream: Upstream) -> None:
    """An announced sibling is fetched once; the wheel is left alone."""
    publish_json(upstream, [WHEEL], max_age=600)
    async with _over(upstream) as repository:
        page = await repository.get_project_page(FOO)
        for _ in range(2):
            assert await _metadata(repository, WHEEL.filename) == WHEEL.metadata
        assert await repository.get_project_page(FOO) is page
    targets = [request.target for request in upstream.requests]
    assert targets == ["/simple/foo/", f"{_place(WHEEL)}.metadata"]


@pytest.mark.parametrize(
    "sibling",
    [
        Reply(status=404),
        Reply(status=403),
        Reply(status=500),
        Reply(body=b"Metadata-Version: 2.1\nName: changed\n"),
        Reply(body=WHEEL.metadata, stop_after=10),
    ],
)
async def test_a_sibling_that_is_no_use_is_read_from_the_wheel(
    upstream: Upstream, sibling: Reply
) -> None:
    """Announced, but absent, refused, wrong or cut off: the wheel itself has it."""
    publish_json(upstream, [WHEEL])
    upstream.on(_place(WHEEL), Reply(body=WHEEL.content, ranges=True))
    upstream.on(f"{_place(WHEEL)}.metadata", sibling)
    async with _over(upstream) as repository:
        assert await _metadata(repository, WHEEL.filename) == WHEEL.metadata
        assert await _announced(repository, WHEEL.filename) == {"sha256": WHEEL.metadata_sha256}


async def test_many_who_ask_cause_one_reading(upstream: Upstream) -> None:
    """A hundred requests at once for one wheel's metadata read the wheel once."""
    import asyncio

    publish_html(upstream, [WHEEL])
    async with _over(upstream) as repository:
        await repository.get_project_page(FOO)
        upstream.forget()
        found = await asyncio.gather(*(_metadata(repository, WHEEL.filename) for _ in range(100)))
    assert set(found) == {WHEEL.metadata}
    assert len(upstream.requests) <= 3


async def test_an_index_without_ranges_costs_one_download(upstream: Upstream) -> None:
    """Where there are no ranges the wheel is downloaded once, whole."""
    publish_html(upstream, [WHEEL], ranges=False)
    async with _over(upstream) as repository:
        for _ in range(2):
            assert await _metadata(repository, WHEEL.filename) == WHEEL.metadata
    gets = [
        r for r in upstream.seen(_place(WHEEL)) if r.method == "GET" and "range" not in r.headers
    ]
    assert len(gets) == 1


async def test_a_download_for_metadata_is_bounded(upstream: Upstream) -> None:
    """A wheel beyond the limit at an index without ranges is not downloaded for its metadata."""
    wheel = build_wheel("foo", files={"big": os.urandom(3_000_000)})
    publish_html(upstream, [wheel], ranges=False)
    async with _over(upstream, download_bytes=1_000_000) as repository:
        with pytest.raises(ResourceNotFound):
            await _metadata(repository, wheel.filename)
        assert await _announced(repository, wheel.filename) is False


async def test_a_head_that_is_refused_is_gone_without(upstream: Upstream) -> None:
    """An index that answers HEAD with 403 or 405 is asked for a single byte instead."""
    publish_html(upstream, [WHEEL])
    good = Reply(body=WHEEL.content, ranges=True)

    def script(request: Request) -> Reply:
        return Reply(status=405) if request.method == "HEAD" else good

    upstream.on(_place(WHEEL), script)
    async with _over(upstream) as repository:
        assert await _metadata(repository, WHEEL.filename) == WHEEL.metadata
    assert all("range" in r.headers for r in upstream.seen(_place(WHEEL)) if r.method == "GET")


@pytest.mark.parametrize(
    "content",
    [
        b"not a zip",
        zip_of({"foo.py": b""}),
        zip_of({"foo-1.0.dist-info/METADATA": b"\0" * 21_000_000}),
    ],
)
async def test_unreadable_metadata_is_announced_no_longer(
    upstream: Upstream, content: bytes
) -> None:
    """A wheel whose metadata proves unreadable is told of, remembered, and a clean 404."""
    broken = Built("foo-1.0-py3-none-any.whl", content, b"")
    publish_html(upstream, [broken])
    events: list[Event] = []
    async with _over(upstream, emit=events.append) as repository:
        assert await _announced(repository, broken.filename) is True
        for _ in range(3):
            with pytest.raises(ResourceNotFound):
                await _metadata(repository, broken.filename)
        assert await _announced(repository, broken.filename) is False
    assert [type(event) for event in events] == [MetadataUnreadable]


@pytest.mark.parametrize("trouble", [Reply(status=503), Reply(reset=True), Reply(status=429)])
async def test_a_passing_failure_is_not_remembered(upstream: Upstream, trouble: Reply) -> None:
    """When upstream fails the answer is "later", never "not there"; later it is there."""
    publish_html(upstream, [WHEEL])
    upstream.on(_place(WHEEL), trouble)
    async with _over(upstream) as repository:
        with pytest.raises(SourceUnavailable):
            await _metadata(repository, WHEEL.filename)
        assert await _announced(repository, WHEEL.filename) is True
        upstream.on(_place(WHEEL), Reply(body=WHEEL.content, ranges=True))
        await until_asked_again(repository)
        assert await _metadata(repository, WHEEL.filename) == WHEEL.metadata


async def test_sdists_are_left_as_they_are(upstream: Upstream) -> None:
    """For an sdist nothing is announced, nor found, that its index does not have."""
    sdist = build_sdist("foo", "1.0")
    publish_html(upstream, [sdist])
    async with _over(upstream) as repository:
        assert await _announced(repository, sdist.filename) is False
        with pytest.raises(ResourceNotFound):
            await _metadata(repository, sdist.filename)


async def test_one_project_cannot_speak_for_another() -> None:
    """A file that claims another project's digest does not decide that project's metadata."""
    source = MemoryRepository()
    mine = source.add(WHEEL.filename, WHEEL.content)
    evil = build_wheel("evil", "1.0")
    claimed = source.add(evil.filename, evil.content)
    claimed.hashes["sha256"] = mine.hashes["sha256"]  # type: ignore[index]
    async with MetadataInjectorRepository(source) as repository:
        page = await repository.get_project_page(ProjectName("evil"))
        name = FileName(f"{page.files[0].filename}.metadata")
        with pytest.raises(SourceUnavailable):
            await repository.get_resource(ProjectName("evil"), name)
        assert await _metadata(repository, WHEEL.filename) == WHEEL.metadata


async def test_memory_is_bounded(upstream: Upstream) -> None:
    """Metadata beyond the budget is evicted, and read again."""
    wheels = [build_wheel("foo", f"1.{n}", requires=["x" * 2000]) for n in range(30)]
    publish_html(upstream, wheels)
    async with _over(upstream, memory_bytes=20_000) as repository:
        for wheel in wheels:
            assert await _metadata(repository, wheel.filename) == wheel.metadata
        assert isinstance(repository._metadata, MemoryCache)
        assert repository._metadata.bytes <= 20_000
        assert await _metadata(repository, wheels[0].filename) == wheels[0].metadata


class HangingFolder(CacheFolder):
    """A cache folder that stores nothing until it is `free`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.free = asyncio.Event()

    @override
    async def write(self, work: Callable[P, int], *args: P.args, **kwargs: P.kwargs) -> bool:
        if args:  # the folder itself may be prepared
            await self.free.wait()
        return await super().write(work, *args, **kwargs)


def _stored(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in (folder / "metadata").rglob("*") if path.is_file()]


async def test_metadata_does_not_wait_for_the_disk(upstream: Upstream, tmp_path: Path) -> None:
    """It is answered while the disk hangs, and is on disk once the repository is closed."""
    publish_json(upstream, [WHEEL])
    disk = HangingFolder(tmp_path / "cache")
    async with _over(upstream, store=MetadataStore(disk)) as repository:
        async with asyncio.timeout(10):
            assert await _metadata(repository, WHEEL.filename) == WHEEL.metadata
        disk.free.set()
    assert any(WHEEL.metadata in content for content in _stored(disk.folder))


async def test_a_disk_that_hangs_holds_up_a_bounded_amount_of_metadata(
    upstream: Upstream, tmp_path: Path
) -> None:
    """What is waiting to be written stays within the budget; the rest is answered all the same."""
    wheels = [build_wheel("foo", f"1.{n}", requires=["x" * 20_000]) for n in range(20)]
    publish_json(upstream, wheels)
    disk = HangingFolder(tmp_path / "cache")
    store = MetadataStore(disk)
    async with _over(upstream, store=store, memory_bytes=800_000) as repository:
        async with asyncio.timeout(20):
            for wheel in wheels:
                assert await _metadata(repository, wheel.filename) == wheel.metadata
        disk.free.set()
    assert 0 < sum(map(len, _stored(disk.folder))) <= 100_000, "of 400,000"
