"""What is known without asking: absence is a thing that was seen, like a page."""

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


async def test_absence_is_told_from_ignorance(upstream: Upstream, folder: Path) -> None:
    """Offline, what was not there is not there; what was never asked for is unknown."""
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


async def test_ignorance_does_not_open_the_priority(upstream: Upstream, folder: Path) -> None:
    """Offline, the second source has a project only if the first one was seen not to have it."""
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
async def test_a_damaged_note_says_nothing(
    upstream: Upstream, folder: Path, damage: bytes | None
) -> None:
    """Offline, only a whole note proves that something was not there."""
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


async def test_absence_is_shared_while_it_is_believed(upstream: Upstream, folder: Path) -> None:
    """Other processes and the next one do not ask within `negative_ttl_s`; then they do."""
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


async def test_a_project_that_comes_back_is_kept_as_a_page(
    upstream: Upstream, folder: Path
) -> None:
    """The note that it is not there is gone with the first page."""
    clock = Clock()
    async with index(upstream, folder, clock=clock) as repository:
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
        publish_json(upstream, [WHEEL])
        clock.now += 61
        await repository.get_project_page(FOO)
    async with index(upstream, folder, offline=True) as repository:
        assert (await repository.get_project_page(FOO)).files


async def test_who_reads_403_as_absence_believes_it_alone(upstream: Upstream, folder: Path) -> None:
    """A server that takes 403 for a refusal does not believe the notes of one that does not."""
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


async def test_a_page_without_kept_files_claims_its_name(upstream: Upstream, folder: Path) -> None:
    """Offline, the first source's project without kept files is a page without files."""
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
