"""`cache refresh` and `cache forget`: changing the entries of one project by hand."""

import asyncio
from pathlib import Path

import pytest

from simple_repository_server.disk.changes import Changes
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.metadata_store import MetadataStore
from simple_repository_server.disk.projects import forget, refresh
from simple_repository_server.errors import ProjectNotFound, SourceUnavailable
from simple_repository_server.names import FileName
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.transforms.metadata import MetadataInjectorRepository
from tests.cache.indexes import BAR, BAZ, FOO, index

pytestmark = pytest.mark.anyio

OLD, NEW = build_wheel("foo", "1.0"), build_wheel("foo", "2.0")
OTHER = build_wheel("bar", "1.0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache lies."""
    return tmp_path / "cache"


async def _seen(repository: HttpRepository) -> None:
    """Wait until the page in memory is no longer served without a request."""
    async with asyncio.timeout(10):
        while repository.peek_project_page(FOO) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_refreshed_page_is_revalidated_by_running_and_new_servers(
    upstream: Upstream, folder: Path
) -> None:
    """Within seconds where it is in memory; pages of other projects are not."""
    publish_json(upstream, [OLD, OTHER], max_age=600)
    async with index(upstream, folder) as repository:
        await repository.get_project_page(FOO)
        other = await repository.get_project_page(BAR)
        await asyncio.sleep(0.1)
        publish_json(upstream, [OLD, NEW, OTHER], max_age=600)
        assert refresh(folder, FOO) == 1
        await _seen(repository)
        assert len((await repository.get_project_page(FOO)).files) == 2
        assert repository.peek_project_page(BAR) is other
    publish_json(upstream, [OLD, OTHER], max_age=600)
    assert refresh(CacheFolder(folder), FOO) == 1
    upstream.forget()
    for _ in range(2):
        async with index(upstream, folder) as repository:
            assert len((await repository.get_project_page(FOO)).files) == 1
    assert [request.target for request in upstream.requests] == ["/simple/foo/"]


async def test_an_unchanged_page_is_revalidated_by_a_conditional_request(
    upstream: Upstream, folder: Path
) -> None:
    """After its 304 the page is fresh for as long as before, also if the answer does not say so."""
    publish_json(upstream, [OLD])
    async with index(upstream, folder) as repository:
        await repository.get_project_page(FOO)
    assert refresh(folder, FOO) == 1
    for _ in range(2):
        async with index(upstream, folder) as repository:
            assert (await repository.get_project_page(FOO)).freshness.lifetime_s == 60
    assert len(upstream.requests) == 2
    assert "if-none-match" in upstream.requests[-1].headers


async def test_a_refreshed_page_is_served_stale_in_an_outage(
    upstream: Upstream, folder: Path
) -> None:
    """It is stale, not gone; offline as well."""
    publish_json(upstream, [OLD], max_age=600)
    async with index(upstream, folder) as repository:
        await repository.get_project_page(FOO)
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(BAR)
    assert refresh(folder, FOO) == refresh(folder, BAR) == 1
    upstream.refuse()
    async with index(upstream, folder) as repository:
        assert (await repository.get_project_page(FOO)).freshness.stale_reason
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(BAR)
    async with index(upstream, folder, offline=True) as repository:
        assert (await repository.get_project_page(FOO)).files
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(BAR)


async def test_a_forgotten_project_leaves_no_entry(upstream: Upstream, folder: Path) -> None:
    """No page for any credentials, no metadata, no negative entry; not in memory either."""
    publish_html(upstream, [OLD])
    disk = CacheFolder(folder)
    source = index(upstream, folder)
    async with MetadataInjectorRepository(source, store=MetadataStore(disk)) as repository:
        await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, FileName(f"{OLD.filename}.metadata"))
        async with resource.open() as body:
            assert [chunk async for chunk in body.chunks]
        await asyncio.sleep(0.2)
        async with index(upstream, folder, user="me:x") as other:
            await other.get_project_page(FOO)
            with pytest.raises(ProjectNotFound):
                await other.get_project_page(BAR)
        assert forget(folder, FOO) == 3
        assert forget(folder, BAR) == 1
        assert forget(folder, BAZ) == 0
        await _seen(source)
        upstream.refuse()
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)
    assert not [path for path in folder.rglob("foo") if "served" not in path.parts]


async def test_metadata_is_forgotten_in_memory_too(upstream: Upstream, folder: Path) -> None:
    """A running server reads it out of the wheel again, and announces what it finds then."""
    publish_html(upstream, [OLD])
    source = index(upstream, folder)
    store = MetadataStore(CacheFolder(folder))
    name = FileName(f"{OLD.filename}.metadata")
    async with MetadataInjectorRepository(source, store=store) as repository:
        resource = await repository.get_resource(FOO, name)
        assert repository.peek_resource(FOO, name) is resource
        async with asyncio.timeout(10):
            while not await store.digests(FOO):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        forget(folder, FOO)
        await _seen(source)
        async with asyncio.timeout(10):
            while True:
                await repository.get_project_page(FOO)
                if repository.peek_resource(FOO, name) is None:
                    break
                await asyncio.sleep(0.02)
        requested = len(upstream.requests)
        assert await repository.get_resource(FOO, name) is not resource
        assert len(upstream.requests) > requested


async def test_a_foreign_folder_is_left_unchanged(tmp_path: Path) -> None:
    """Nothing is written into it, and nothing removed."""
    place = tmp_path / "pages" / ("0" * 32) / "foo"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    assert refresh(tmp_path, FOO) == forget(tmp_path, FOO) == 0
    assert refresh(tmp_path / "nowhere", FOO) == 0
    assert place.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "pages"]


def test_servers_see_every_change(tmp_path: Path) -> None:
    """However many there are, each is seen by all servers, and the file stays small."""
    (tmp_path / "changes").write_bytes(b"before\n")
    changes, other = Changes(tmp_path / "changes"), Changes(tmp_path / "changes")
    assert not changes.new()
    for number in range(20_000):
        other.append(f"project-{number}", tmp_path)
        if number % 500 == 0:
            assert f"project-{number}" in changes.new()
    assert {f"project-{number}" for number in range(19_501, 20_000)} <= changes.new()
    assert not changes.new()
    assert (tmp_path / "changes").stat().st_size <= 64 * 1024
    (tmp_path / "changes").unlink()
    assert not changes.new()
    other.append("again", tmp_path)
    assert changes.new() == {"again"}
