"""Pages on a disk that others use and that fails: what was taken back stays away."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.disk.entries import EntryStore
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.errors import ProjectNotFound, SourceUnavailable
from simple_repository_server.model import RequestContext
from simple_repository_server.names import ProjectName
from simple_repository_server.sources.http import DEFAULT_MEMORY_BYTES, HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits

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


async def test_what_another_process_saw_meanwhile_does_not_come_back(
    upstream: Upstream, folder: Path
) -> None:
    """A release is published, seen by one server and taken back: no other one brings it back."""
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


async def test_what_could_not_be_written_does_not_bring_back_what_was_there(
    upstream: Upstream, folder: Path
) -> None:
    """A page that changed while the disk refuses: its old form is not served after a restart."""
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


async def test_a_page_larger_than_the_memory_survives_an_outage(
    upstream: Upstream, folder: Path
) -> None:
    """What does not fit into the memory for pages is on disk: confirmed, and served on."""
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


async def test_who_wants_it_confirmed_gets_it_confirmed(
    upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when somebody else has just begun to take the page from the disk."""
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


async def test_who_wants_it_confirmed_is_not_content_with_what_others_learned(
    upstream: Upstream, folder: Path
) -> None:
    """What another process was told a minute ago spares the others, but not them, a request."""
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
async def test_damage_to_what_is_said_of_a_page_is_found(
    upstream: Upstream, folder: Path, sound: bytes, damaged: bytes
) -> None:
    """One flipped bit before the body is found as well as one in it."""
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


async def test_other_files_among_the_pages_are_passed_over(
    upstream: Upstream, folder: Path
) -> None:
    """What a file system or a person left there does not spoil the list of projects."""
    publish_json(upstream, [WHEEL])
    async with _index(upstream, CacheFolder(folder)) as repository:
        await repository.get_project_page(FOO)
    _page_file(folder).with_name(".nfs0000000001").write_bytes(b"")
    async with _index(upstream, CacheFolder(folder), offline=True) as repository:
        assert (await repository.get_project_list()).names == (FOO,)


async def test_how_long_nothing_is_believed(upstream: Upstream, folder: Path) -> None:
    """That there is no such project is believed as long as the rules say, and no longer."""
    clock = Clock()
    async with _index(upstream, CacheFolder(folder), clock=clock, negative_ttl_s=10) as repository:
        for later, asked in ((0, 1), (9, 1), (2, 2)):
            clock.now += later
            with pytest.raises(ProjectNotFound):
                await repository.get_project_page(FOO)
            assert len(upstream.requests) == asked


async def test_in_an_outage_nothing_is_not_served_on(upstream: Upstream, folder: Path) -> None:
    """That there was no such project does not make it another index's while nobody can say."""
    clock = Clock()
    async with _index(upstream, CacheFolder(folder), clock=clock) as repository:
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
        upstream.refuse()
        clock.now += 61
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


async def test_a_slow_disk_does_not_bring_a_page_back(
    upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is removed while it is still being written: in the end it is not there."""
    save = EntryStore.save

    def slow(self: EntryStore[Any], head: Any, body: bytes, *key: str) -> int:
        time.sleep(0.2)
        return save(self, head, body, *key)

    monkeypatch.setattr(EntryStore, "save", slow)
    publish_json(upstream, [WHEEL], max_age=0)
    async with _index(upstream, CacheFolder(folder)) as repository:
        await repository.get_project_page(FOO)
        upstream.on("/simple/foo/", Reply(status=404))
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
    upstream.refuse()
    async with _index(upstream, CacheFolder(folder), negative_ttl_s=0) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


async def test_the_same_text_from_elsewhere_is_another_page(
    upstream: Upstream, folder: Path
) -> None:
    """Where a page redirects to says what its links mean."""
    text = Reply(headers={"Content-Type": "text/html"}, body=b'<a href="foo-1.0.tar.gz">foo</a>')
    async with _index(upstream, CacheFolder(folder)) as repository:
        for place in ("/a/", "/b/"):
            upstream.on(place, text)
            upstream.on("/simple/foo/", Reply(status=302, headers={"Location": place}))
            page = await repository.get_project_page(FOO, context=REVALIDATE)
            assert page.files[0].url == f"{upstream.url}{place}foo-1.0.tar.gz"
            await asyncio.sleep(1.1)
