"""Offline: a negative entry is evidence of absence, a missing entry is not."""

import asyncio
from pathlib import Path

import pytest

from simple_repository_server.cache.files import FileCache
from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.errors import ProjectNotFound, ResourceNotFound, SourceUnavailable
from simple_repository_server.names import FileName
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from tests.cache.indexes import BAR, BAZ, FOO, Clock, index

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("foo", "1.0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache lies."""
    return tmp_path / "cache"


async def test_offline_absent_and_unknown_projects_differ(upstream: Upstream, folder: Path) -> None:
    """A negative entry is 404; a project that was never requested is unknown."""
    publish_json(upstream, [WHEEL])
    async with index(upstream, folder) as repository:
        await repository.get_project_page(FOO)
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(BAR)
    upstream.forget()
    async with index(upstream, folder, offline=True) as repository:
        assert (await repository.get_project_page(FOO)).files
        for _ in range(2):
            with pytest.raises(ProjectNotFound):
                await repository.get_project_page(BAR)
            with pytest.raises(ProjectNotFound):
                repository.peek_project_page(BAR)
            assert repository.peek_project_page(BAZ) is None
            with pytest.raises(SourceUnavailable, match="offline.*'baz'.*run it without"):
                await repository.get_project_page(BAZ)
        names = await repository.get_project_list()
        assert names.names == (FOO,)
        assert await repository.get_project_list() is names
    assert not upstream.requests


async def test_offline_unknown_project_is_not_taken_from_the_next_source(
    upstream: Upstream, folder: Path
) -> None:
    """The second source has it only if the first is known not to."""
    publish_json(upstream, [])
    with Upstream() as public:
        publish_json(public, [WHEEL, build_wheel("bar", "99.0")])
        async with index(upstream, folder) as private, index(public, folder) as other:
            with pytest.raises(ProjectNotFound):
                await private.get_project_page(FOO)
            await other.get_project_page(FOO)
            await other.get_project_page(BAR)
        both = PrioritySelectedProjectsRepository(
            [index(upstream, folder, offline=True), index(public, folder, offline=True)]
        )
        async with both:
            assert (await both.get_project_page(FOO)).files
            with pytest.raises(SourceUnavailable, match=upstream.simple):
                await both.get_project_page(BAR)
            with pytest.raises(SourceUnavailable, match=upstream.simple):
                await both.get_resource(BAR, FileName("bar-99.0-py3-none-any.whl"))


@pytest.mark.parametrize("damage", [b"", b"garbage", None], ids=["empty", "garbage", "gone"])
async def test_offline_corrupt_negative_entry_proves_nothing(
    upstream: Upstream, folder: Path, damage: bytes | None
) -> None:
    """The project is unknown then, not absent."""
    async with index(upstream, folder) as repository:
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
    (path,) = (path for path in (folder / "pages").rglob("*") if path.is_file())
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    async with index(upstream, folder, offline=True) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


async def test_processes_share_negative_entries(upstream: Upstream, folder: Path) -> None:
    """Others, and the next process, send no request within `negative_ttl_s`."""
    clock = Clock()
    async with index(upstream, folder, clock=clock) as one:
        with pytest.raises(ProjectNotFound):
            await one.get_project_page(FOO)
        await asyncio.sleep(0.1)
        async with index(upstream, folder, clock=clock) as other:
            clock.now += 59
            with pytest.raises(ProjectNotFound):
                await other.get_project_page(FOO)
            assert len(upstream.requests) == 1
            clock.now += 2
            publish_json(upstream, [WHEEL])
            assert (await other.get_project_page(FOO)).files
            await asyncio.sleep(0.1)
            assert len(upstream.requests) == 2
            assert (await one.get_project_page(FOO)).files, "what the other one learned"
            assert len(upstream.requests) == 2


async def test_page_replaces_the_negative_entry(upstream: Upstream, folder: Path) -> None:
    """A project that returns is served offline."""
    clock = Clock()
    async with index(upstream, folder, clock=clock) as repository:
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
        publish_json(upstream, [WHEEL])
        clock.now += 61
        await repository.get_project_page(FOO)
    async with index(upstream, folder, offline=True) as repository:
        assert (await repository.get_project_page(FOO)).files


async def test_negative_entries_made_from_403_are_not_shared(
    upstream: Upstream, folder: Path
) -> None:
    """A server that takes 403 for a refusal does not use them."""
    upstream.on("/simple/foo/", Reply(status=403))
    repository = index(upstream, folder)
    lenient = type(repository)(
        upstream.simple, cache=CacheFolder(folder), forbidden_means_absent=True
    )
    async with lenient:
        with pytest.raises(ProjectNotFound):
            await lenient.get_project_page(FOO)
    async with repository:
        with pytest.raises(SourceUnavailable, match="refuses us"):
            await repository.get_project_page(FOO)


async def test_offline_project_without_cached_files_is_an_empty_page(
    upstream: Upstream, folder: Path
) -> None:
    """It hides the second source's project of the same name."""
    publish_json(upstream, [WHEEL])
    with Upstream() as public:
        newer = build_wheel("foo", "99.0")
        publish_json(public, [newer])
        async with index(upstream, folder) as private, index(public, folder) as other:
            await private.get_project_page(FOO)
            await other.get_project_page(FOO)
        offline = [
            FileCacheRepository(
                index(source, folder, offline=True),
                FileCache(CacheFolder(folder)),
                cached_only=True,
            )
            for source in (upstream, public)
        ]
        both = PrioritySelectedProjectsRepository(offline)
        async with both:
            assert not (await both.get_project_page(FOO)).files
            for name in (WHEEL.filename, newer.filename, f"{WHEEL.filename}.metadata"):
                with pytest.raises(ResourceNotFound):
                    await both.get_resource(FOO, FileName(name))
            with pytest.raises(ResourceNotFound, match="not in the cache.*offline"):
                await both.get_resource(FOO, FileName(WHEEL.filename))
