"""Pages, lists and metadata across restarts and outages."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.metadata_store import MetadataStore
from simple_repository_server.errors import (
    ProjectNotFound,
    ResourceNotFound,
    SourceUnavailable,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Event, ignore
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import Built, build_wheel, zip_of
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.transforms.metadata import MetadataInjectorRepository
from simple_repository_server.upstream.client import Limits

pytestmark = pytest.mark.anyio

FOO, BAR = ProjectName("foo"), ProjectName("bar")
WHEEL = build_wheel("foo", "1.0", requires=["bar>=2"])
NAME = FileName(WHEEL.filename)
PAGE = "/simple/foo/"
QUICK = Limits(connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=1, backoff_s=0.01)


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
    folder: Path,
    *,
    clock: Callable[[], float] | None = None,
    emit: Callable[[Event], None] = ignore,
    url: str | None = None,
    **policy: Any,
) -> HttpRepository:
    disk = CacheFolder(folder, emit=emit)
    return HttpRepository(
        url or upstream.simple,
        limits=QUICK,
        cache=disk,
        policy=CachePolicy(**policy),
        emit=emit,
        clock=clock or time.time,
    )


async def test_fresh_page_is_served_from_disk_after_a_restart(
    upstream: Upstream, folder: Path
) -> None:
    """Without a request upstream."""
    publish_json(upstream, [WHEEL], max_age=300)
    async with _index(upstream, folder) as repository:
        before = await repository.get_project_page(FOO)
    async with _index(upstream, folder) as repository:
        after = await repository.get_project_page(FOO)
    assert after.files == before.files
    assert after.freshness.lifetime_s == 300
    assert len(upstream.requests) == 1


async def test_stale_page_on_disk_is_revalidated_after_a_restart(
    upstream: Upstream, folder: Path
) -> None:
    """With one conditional request, whose outcome the next process finds on disk."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    async with _index(upstream, folder, clock=clock) as repository:
        await repository.get_project_page(FOO)
    clock.now += 301
    async with _index(upstream, folder, clock=clock) as repository:
        assert (await repository.get_project_page(FOO)).files
        assert upstream.requests[-1].headers["if-none-match"]
        assert len(upstream.requests) == 2
    async with _index(upstream, folder, clock=clock) as repository:
        assert (await repository.get_project_page(FOO)).files
    assert len(upstream.requests) == 2


async def test_stale_while_revalidate_serves_at_once(upstream: Upstream, folder: Path) -> None:
    """Nobody waits for the index; the next request gets its answer."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    async with _index(upstream, folder, clock=clock, stale_while_revalidate_s=60) as repository:
        page = await repository.get_project_page(FOO)
        publish_json(upstream, [WHEEL, build_wheel("foo", "2.0")], max_age=300)
        clock.now += 310
        assert await repository.get_project_page(FOO) is page
        for _ in range(100):
            await asyncio.sleep(0.01)
            if await repository.get_project_page(FOO) is not page:
                break
        assert len((await repository.get_project_page(FOO)).files) == 2
        publish_json(upstream, [WHEEL], max_age=300)
        clock.now += 361
        assert len((await repository.get_project_page(FOO)).files) == 1, "beyond it, they wait"


async def test_pages_on_disk_are_served_stale_in_an_outage_after_a_restart(
    upstream: Upstream, folder: Path
) -> None:
    """With their age and a warning; pages that are not there are errors."""
    publish_json(upstream, [WHEEL, build_wheel("bar", "1.0")], max_age=300)
    clock = Clock()
    async with _index(upstream, folder, clock=clock) as repository:
        await repository.get_project_page(FOO)
        await repository.get_project_list()
    upstream.refuse()
    clock.now += 3600
    async with _index(upstream, folder, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        assert page.files
        assert page.freshness.at(clock.now)[1] == 3600
        assert upstream.simple in (page.freshness.stale_reason or "")
        assert (await repository.get_project_list()).names == (BAR, FOO)
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(BAR)
    clock.now += 8 * 24 * 3600
    async with _index(upstream, folder, clock=clock) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


async def test_removed_project_does_not_return_in_an_outage(
    upstream: Upstream, folder: Path
) -> None:
    """404 replaces the page on disk."""
    publish_json(upstream, [WHEEL], max_age=0)
    clock = Clock()
    async with _index(upstream, folder, clock=clock) as repository:
        await repository.get_project_page(FOO)
        upstream.on(PAGE, Reply(status=404))
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
    upstream.refuse()
    async with _index(upstream, folder, clock=clock) as repository:
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
        clock.now += 61
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


async def test_processes_share_revalidation(upstream: Upstream, folder: Path) -> None:
    """Two servers on one cache do not both revalidate the same page."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    async with (
        _index(upstream, folder, clock=clock) as one,
        _index(upstream, folder, clock=clock) as other,
    ):
        await one.get_project_page(FOO)
        await asyncio.sleep(0.1)
        await other.get_project_page(FOO)
        assert len(upstream.requests) == 1
        clock.now += 301
        await one.get_project_page(FOO)
        await asyncio.sleep(0.1)
        page = await other.get_project_page(FOO)
        assert len(upstream.requests) == 2
        assert page.freshness.validated_at == clock.now


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content + b"!",
        lambda content: content.replace(b"foo", b"f0o"),
        lambda content: b"\xff" * len(content),
        lambda content: b"{}\n" + content,
        lambda content: content.partition(b"\n")[0],
    ],
    ids=["empty", "short", "long", "flipped", "garbage", "other head", "no body"],
)
async def test_corrupt_page_is_fetched_again(
    upstream: Upstream, folder: Path, damage: Callable[[bytes], bytes]
) -> None:
    """However an entry on disk is corrupt, it is never taken for a page."""
    publish_json(upstream, [WHEEL], max_age=300)
    async with _index(upstream, folder) as repository:
        await repository.get_project_page(FOO)
    (path,) = (path for path in (folder / "pages").rglob("*") if path.is_file())
    path.write_bytes(damage(path.read_bytes()))
    async with _index(upstream, folder) as repository:
        assert (await repository.get_project_page(FOO)).files[0].filename == NAME
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("jump", [-10 * 24 * 3600, 10 * 24 * 3600])
async def test_clock_jump_costs_one_revalidation(
    upstream: Upstream, folder: Path, jump: int
) -> None:
    """Set forward or back by days, nothing fails."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    async with _index(upstream, folder, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += jump
        assert await repository.get_project_page(FOO) is page
        assert len(upstream.requests) == 2


async def test_users_do_not_share_pages(upstream: Upstream, folder: Path) -> None:
    """What an index showed to one user is not served by another user's server."""
    publish_json(upstream, [WHEEL], max_age=300)
    urls = [upstream.simple.replace("//", f"//{user}:x@") for user in ("me", "you")]
    for url in urls:
        async with _index(upstream, folder, url=url) as repository:
            await repository.get_project_page(FOO)
    assert len(upstream.requests) == 2


async def test_no_credential_is_written_to_disk(upstream: Upstream, folder: Path) -> None:
    """Neither the password nor a header made of it is in any file or name of the cache."""
    publish_json(upstream, [WHEEL])
    url = upstream.simple.replace("//", "//me:secret-word@")
    async with _index(upstream, folder, url=url) as repository:
        await repository.get_project_page(FOO)
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert any("pages" in str(path) for path in written)
    for path in written:
        assert b"secret" not in path.read_bytes()
        assert b"Authorization" not in path.read_bytes()


# --- metadata ------------------------------------------------------------------------------------


def _with_metadata(upstream: Upstream, folder: Path) -> MetadataInjectorRepository:
    disk = CacheFolder(folder)
    source = HttpRepository(upstream.simple, limits=QUICK, cache=disk)
    return MetadataInjectorRepository(source, store=MetadataStore(disk))


async def _metadata(repository: MetadataInjectorRepository, name: FileName = NAME) -> bytes:
    resource = await repository.get_resource(FOO, FileName(f"{name}.metadata"))
    async with resource.open() as body:
        return b"".join([chunk async for chunk in body.chunks])


async def test_metadata_on_disk_is_used_after_a_restart(upstream: Upstream, folder: Path) -> None:
    """It costs no request, and the page announces its digest as before."""
    publish_html(upstream, [WHEEL])
    async with _with_metadata(upstream, folder) as repository:
        assert await _metadata(repository) == WHEEL.metadata
        before = await repository.get_project_page(FOO)
    upstream.forget()
    async with _with_metadata(upstream, folder) as repository:
        after = await repository.get_project_page(FOO)
        assert await _metadata(repository) == WHEEL.metadata
    assert after.files == before.files
    assert after.files[0].core_metadata == {"sha256": WHEEL.metadata_sha256}
    assert not [request for request in upstream.requests if request.target != PAGE]


async def test_wheel_without_metadata_is_not_inspected_again(
    upstream: Upstream, folder: Path
) -> None:
    """It is not announced either, after a restart as before."""
    broken = Built(
        filename="foo-1.0-py3-none-any.whl", content=zip_of({"foo.py": b""}), metadata=b""
    )
    publish_html(upstream, [broken])
    async with _with_metadata(upstream, folder) as repository:
        with pytest.raises(ResourceNotFound):
            await _metadata(repository)
    upstream.forget()
    async with _with_metadata(upstream, folder) as repository:
        assert (await repository.get_project_page(FOO)).files[0].core_metadata is False
        with pytest.raises(ResourceNotFound):
            await _metadata(repository)
    assert not [request for request in upstream.requests if request.target != PAGE]


# --- offline -------------------------------------------------------------------------------------


@asynccontextmanager
async def _server(
    upstream: Upstream, folder: Path, *, offline: bool = False
) -> AsyncIterator[MetadataInjectorRepository]:
    disk = CacheFolder(folder)
    index = HttpRepository(
        upstream.simple, limits=QUICK, cache=disk, policy=CachePolicy(offline=offline)
    )
    source = FileCacheRepository(index, FileCache(disk), cached_only=offline)
    async with MetadataInjectorRepository(source, store=MetadataStore(disk)) as repository:
        yield repository


async def _fetch(repository: MetadataInjectorRepository, project: ProjectName, name: str) -> bytes:
    resource = await repository.get_resource(project, FileName(name))
    async with resource.open() as body:
        return b"".join([chunk async for chunk in body.chunks])


@pytest.mark.parametrize("hashes", [True, False])
async def test_offline_lists_exactly_what_is_cached(
    upstream: Upstream, folder: Path, *, hashes: bool
) -> None:
    """Projects, files and metadata; no request is sent."""
    others = [build_wheel("foo", "2.0"), build_wheel("bar", "1.0"), build_wheel("baz", "1.0")]
    publish_html(upstream, [WHEEL, *others], hashes=hashes)
    async with _server(upstream, folder) as repository:
        assert await _fetch(repository, FOO, NAME) == WHEEL.content
        await repository.get_project_page(BAR)
        await asyncio.sleep(0.2)
    upstream.forget()
    async with _server(upstream, folder, offline=True) as repository:
        assert (await repository.get_project_list()).names == (FOO,)
        page = await repository.get_project_page(FOO)
        assert [file.filename for file in page.files] == [NAME]
        assert await repository.get_project_page(FOO) is page
        assert await _fetch(repository, FOO, NAME) == WHEEL.content
        assert await _fetch(repository, FOO, f"{NAME}.metadata") == WHEEL.metadata
        with pytest.raises(ResourceNotFound):
            await repository.get_resource(FOO, FileName(others[0].filename))
        assert not (await repository.get_project_page(BAR)).files, "known, so nobody else's"
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(ProjectName("baz"))
    assert not upstream.requests


async def test_offline_project_without_cached_files_retains_its_owner(
    upstream: Upstream, folder: Path
) -> None:
    """A private project does not become the public one of the same name."""
    with Upstream() as public:
        publish_json(upstream, [build_wheel("foo", "1.0")])
        publish_json(public, [build_wheel("foo", "99.0")])
        async with _server(upstream, folder) as private, _server(public, folder) as other:
            await private.get_project_page(FOO)
            await _fetch(other, FOO, build_wheel("foo", "99.0").filename)
        async with (
            _server(upstream, folder, offline=True) as private,
            _server(public, folder, offline=True) as other,
        ):
            both = PrioritySelectedProjectsRepository([private, other])
            async with both:
                assert not (await both.get_project_page(FOO)).files
