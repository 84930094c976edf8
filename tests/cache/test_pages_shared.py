"""Pages on a disk that other processes use, or that fails: nothing outdated returns."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import pytest
from typing_extensions import override

from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.errors import ProjectNotFound, SourceUnavailable
from simple_repository_server.model import RequestContext
from simple_repository_server.names import ProjectName
from simple_repository_server.sources.http import DEFAULT_MEMORY_BYTES, HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits

P = ParamSpec("P")

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL, BAD = build_wheel("foo", "1.0"), build_wheel("foo", "2.0")
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
    """Where the cache lies."""
    return tmp_path / "cache"


def _index(
    upstream: Upstream,
    disk: CacheFolder,
    *,
    clock: Callable[[], float] | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    **policy: Any,
) -> HttpRepository:
    return HttpRepository(
        upstream.simple,
        limits=QUICK,
        cache=disk,
        policy=CachePolicy(**policy),
        clock=clock or time.time,
        memory_bytes=memory_bytes,
    )


def _page_file(folder: Path) -> Path:
    (path,) = (path for path in (folder / "pages").rglob("*") if path.is_file())
    return path


async def test_release_that_was_taken_back_does_not_return(
    upstream: Upstream, folder: Path
) -> None:
    """Neither in the process that saw it nor in another one."""
    clock = Clock()
    one = _index(upstream, CacheFolder(folder), clock=clock)
    other = _index(upstream, CacheFolder(folder), clock=clock)
    publish_json(upstream, [WHEEL], max_age=10)
    async with one, other:
        await one.get_project_page(FOO)
        await asyncio.sleep(0.1)
        clock.now += 11
        publish_json(upstream, [WHEEL, BAD], max_age=10)
        assert len((await other.get_project_page(FOO)).files) == 2
        await asyncio.sleep(0.1)
        clock.now += 11
        publish_json(upstream, [WHEEL], max_age=10)
        assert len((await one.get_project_page(FOO)).files) == 1
    upstream.refuse()
    async with _index(upstream, CacheFolder(folder), clock=clock) as later:
        try:
            page = await later.get_project_page(FOO)
        except SourceUnavailable:
            return
        assert len(page.files) == 1


async def test_failed_write_does_not_restore_the_older_page(
    upstream: Upstream, folder: Path
) -> None:
    """A page that changed while the disk fails is not served in its older form after a restart."""
    clock = Clock()
    disk = CacheFolder(folder)
    publish_json(upstream, [WHEEL, BAD], max_age=10)
    async with _index(upstream, disk, clock=clock) as repository:
        await repository.get_project_page(FOO)
        await asyncio.sleep(0.1)
        disk.record_failure(OSError(28, "No space left on device"))
        publish_json(upstream, [WHEEL], max_age=10)
        clock.now += 11
        assert len((await repository.get_project_page(FOO)).files) == 1
    upstream.refuse()
    async with _index(upstream, CacheFolder(folder), clock=clock) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


async def test_page_larger_than_the_memory_budget_is_served_from_disk(
    upstream: Upstream, folder: Path
) -> None:
    """It is revalidated, and served stale in an outage."""
    clock = Clock()
    publish_json(upstream, [WHEEL], max_age=10)
    async with _index(upstream, CacheFolder(folder), clock=clock, memory_bytes=1) as repository:
        await repository.get_project_page(FOO)
        await asyncio.sleep(0.1)
        clock.now += 11
        assert (await repository.get_project_page(FOO)).files
        assert upstream.requests[-1].headers.get("if-none-match")
        await asyncio.sleep(0.1)
        clock.now += 11
        upstream.refuse()
        assert (await repository.get_project_page(FOO)).freshness.stale_reason


async def test_no_cache_is_honoured_when_joining_a_request_in_flight(
    upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the request that was joined only loads the page from disk."""
    clock = Clock()
    publish_json(upstream, [WHEEL], max_age=300)
    async with _index(upstream, CacheFolder(folder), clock=clock) as repository:
        await repository.get_project_page(FOO)
    clock.now += 100
    publish_json(upstream, [WHEEL, BAD], max_age=300)
    async with _index(upstream, CacheFolder(folder), clock=clock) as repository:
        some, confirmed = await asyncio.gather(
            repository.get_project_page(FOO),
            repository.get_project_page(FOO, context=REVALIDATE),
        )
    assert len(some.files) == 1
    assert len(confirmed.files) == 2


async def test_no_cache_does_not_accept_an_older_revalidation_by_another_process(
    upstream: Upstream, folder: Path
) -> None:
    """What another process validated a minute ago spares only ordinary requests."""
    clock = Clock()
    publish_json(upstream, [WHEEL], max_age=300)
    async with (
        _index(upstream, CacheFolder(folder), clock=clock) as one,
        _index(upstream, CacheFolder(folder), clock=clock) as other,
    ):
        await one.get_project_page(FOO)
        await asyncio.sleep(0.1)
        clock.now += 301
        await other.get_project_page(FOO)
        await asyncio.sleep(0.1)
        clock.now += 60
        publish_json(upstream, [WHEEL, BAD], max_age=300)
        some, confirmed = await asyncio.gather(
            one.get_project_page(FOO), one.get_project_page(FOO, context=REVALIDATE)
        )
        assert len(some.files) == 1
        assert len(confirmed.files) == 2


@pytest.mark.parametrize(
    ("sound", "damaged"),
    [(b"simple.v1+json", b"simple.v1+html"), (b'"lifetime_s":300', b'"lifetime_s":900')],
    ids=["type", "lifetime"],
)
async def test_corrupt_head_is_detected(
    upstream: Upstream, folder: Path, sound: bytes, damaged: bytes
) -> None:
    """One flipped bit in the head is found as well as one in the body."""
    publish_json(upstream, [WHEEL], max_age=300)
    async with _index(upstream, CacheFolder(folder)) as repository:
        await repository.get_project_page(FOO)
    path = _page_file(folder)
    content = path.read_bytes()
    assert sound in content
    path.write_bytes(content.replace(sound, damaged, 1))
    async with _index(upstream, CacheFolder(folder)) as repository:
        assert (await repository.get_project_page(FOO)).files
    assert len(upstream.requests) == 2


async def test_foreign_files_among_the_pages_are_ignored(upstream: Upstream, folder: Path) -> None:
    """They do not break the list of projects."""
    publish_json(upstream, [WHEEL])
    async with _index(upstream, CacheFolder(folder)) as repository:
        await repository.get_project_page(FOO)
    _page_file(folder).with_name(".nfs0000000001").write_bytes(b"")
    async with _index(upstream, CacheFolder(folder), offline=True) as repository:
        assert (await repository.get_project_list()).names == (FOO,)


async def test_negative_ttl_is_configurable(upstream: Upstream, folder: Path) -> None:
    """A negative entry is used for as long as the policy says."""
    clock = Clock()
    async with _index(upstream, CacheFolder(folder), clock=clock, negative_ttl_s=10) as repository:
        for later, sent in ((0, 1), (9, 1), (2, 2)):
            clock.now += later
            with pytest.raises(ProjectNotFound):
                await repository.get_project_page(FOO)
            assert len(upstream.requests) == sent


async def test_negative_entry_is_not_served_stale(upstream: Upstream, folder: Path) -> None:
    """In an outage another index must not be taken for the owner of the name."""
    clock = Clock()
    async with _index(upstream, CacheFolder(folder), clock=clock) as repository:
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
        upstream.refuse()
        clock.now += 61
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


class _SlowWrites(CacheFolder):
    """A disk that takes so long for each write that a removal begun later would overtake it."""

    @override
    async def write(self, work: Callable[P, int], *args: P.args, **kwargs: P.kwargs) -> bool:
        def slow() -> int:
            time.sleep(0.2)
            return work(*args, **kwargs)

        return await super().write(slow)


async def test_writes_to_one_name_are_ordered(upstream: Upstream, folder: Path) -> None:
    """A page that is removed while it is being written is gone in the end."""
    publish_json(upstream, [WHEEL], max_age=0)
    async with _index(upstream, _SlowWrites(folder)) as repository:
        await repository.get_project_page(FOO)
        upstream.on("/simple/foo/", Reply(status=404))
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
    upstream.refuse()
    async with _index(upstream, CacheFolder(folder), negative_ttl_s=0) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


async def test_same_body_from_another_url_is_another_page(upstream: Upstream, folder: Path) -> None:
    """Its relative links mean something else."""
    text = Reply(headers={"Content-Type": "text/html"}, body=b'<a href="foo-1.0.tar.gz">foo</a>')
    async with _index(upstream, CacheFolder(folder)) as repository:
        for place in ("/a/", "/b/"):
            upstream.on(place, text)
            upstream.on("/simple/foo/", Reply(status=302, headers={"Location": place}))
            page = await repository.get_project_page(FOO, context=REVALIDATE)
            assert page.files[0].url == f"{upstream.url}{place}foo-1.0.tar.gz"
            await asyncio.sleep(1.1)
