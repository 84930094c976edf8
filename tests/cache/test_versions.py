"""Files without a digest, and files that others lie about: two versions are never mixed."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import md5
from pathlib import Path

import pytest

from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.errors import RepositoryError, TransferAborted
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Event, ignore
from simple_repository_server.resource import ByteRange, Resource
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.upstream.client import Limits

pytestmark = pytest.mark.anyio

FOO, BAR = ProjectName("foo"), ProjectName("bar")
SIZE = 700_000
WHEEL = build_wheel("foo", "1.0", files={"foo/data.bin": os.urandom(SIZE)}, compressed=False)
NAME = FileName(WHEEL.filename)
PATH = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
QUICK = Limits(connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=1, backoff_s=0.01)
OLD, NEW = os.urandom(SIZE), os.urandom(SIZE)
DATE = "Tue, 03 Oct 2023 10:00:00 GMT"


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


@asynccontextmanager
async def _cached(
    upstream: Upstream,
    folder: Path,
    *,
    clock: Callable[[], float] = time.time,
    emit: Callable[[Event], None] = ignore,
    offline: bool = False,
) -> AsyncIterator[FileCacheRepository]:
    disk = CacheFolder(folder, clock=clock, emit=emit)
    source = HttpRepository(
        upstream.simple, limits=QUICK, cache=disk, policy=CachePolicy(offline=offline)
    )
    files = FileCache(disk, emit=emit)
    async with FileCacheRepository(source, files, cached_only=offline) as repository:
        yield repository


async def _content(resource: Resource, wanted: ByteRange | None = None) -> bytes:
    async with resource.open(wanted) as body:
        return b"".join([chunk async for chunk in body.chunks])


async def _read(
    repository: FileCacheRepository, project: ProjectName = FOO, name: FileName = NAME
) -> bytes:
    return await _content(await repository.get_resource(project, name))


async def _stored(repository: FileCacheRepository) -> Resource:
    for _ in range(200):
        resource = await repository.get_resource(FOO, NAME)
        if resource.path is not None:
            return resource
        await asyncio.sleep(0.02)
    raise AssertionError("it was not stored in the cache")


def _tagged(content: bytes, tag: str, **more: object) -> Reply:
    return Reply(body=content, headers={"ETag": tag}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "again",
    [_tagged(NEW, '"2"'), Reply(body=NEW), _tagged(NEW, '"2"', ranges=True)],
    ids=["other version", "no version", "other part"],
)
async def test_a_transfer_is_not_resumed_with_another_version(
    upstream: Upstream, folder: Path, again: Reply
) -> None:
    """A file without a digest that changed while it came is not made of two halves."""
    publish_html(upstream, [WHEEL], hashes=False)
    upstream.on(PATH, [_tagged(OLD, '"1"', stop_after=300_000), again])
    async with _cached(upstream, folder) as repository:
        with pytest.raises(TransferAborted):
            await _read(repository)
        upstream.on(PATH, again)
        assert await _read(repository) == NEW


async def test_a_date_beside_a_weak_tag_is_not_trusted(upstream: Upstream, folder: Path) -> None:
    """Two versions within a second have one date: an origin's weak tag says that it may be so."""
    publish_html(upstream, [WHEEL], hashes=False)

    def headers(tag: str) -> dict[str, str]:
        return {"ETag": tag, "Last-Modified": DATE}

    first = Reply(body=OLD, headers=headers('W/"1"'), ranges=True, stop_after=300_000)
    upstream.on(PATH, [first, Reply(body=NEW, headers=headers('W/"2"'), ranges=True)])
    async with _cached(upstream, folder) as repository:
        with pytest.raises(TransferAborted):
            await _read(repository)


async def test_a_file_without_a_version_is_fetched_again_when_it_expires(
    upstream: Upstream, folder: Path
) -> None:
    """Where nothing tells whether a file is still the same, its size alone does not."""
    publish_html(upstream, [WHEEL], hashes=False, ranges=False)
    clock = Clock()
    upstream.on(PATH, Reply(body=OLD))
    async with _cached(upstream, folder, clock=clock) as repository:
        assert await _read(repository) == OLD
        await _stored(repository)
        upstream.on(PATH, Reply(body=NEW))
        clock.now += 61
        assert await _read(repository) == NEW


async def test_a_file_with_a_size_and_no_digest_is_asked_about(
    upstream: Upstream, folder: Path
) -> None:
    """It is confirmed by its version, though its size is known, and is there when offline."""
    publish_json(upstream, [WHEEL], metadata=False, extra={"hashes": {}})
    upstream.on(PATH, _tagged(WHEEL.content, '"1"', ranges=True))
    clock = Clock()
    async with _cached(upstream, folder, clock=clock) as repository:
        assert await _read(repository) == WHEEL.content
        await _stored(repository)
        fetched = len(upstream.seen(PATH))
        clock.now += 61
        assert await _read(repository) == WHEEL.content
        assert [r.method for r in upstream.seen(PATH)[fetched:]] == ["HEAD"]
    clock.now += 61
    async with _cached(upstream, folder, clock=clock, offline=True) as repository:
        assert await _read(repository) == WHEEL.content


async def test_a_wrong_size_does_not_cost_others_their_file(
    upstream: Upstream, folder: Path
) -> None:
    """A page that gives the digest of a file and another size does not have it removed."""
    publish_json(upstream, [WHEEL], metadata=False)
    async with _cached(upstream, folder) as repository:
        assert await _read(repository) == WHEEL.content
        kept = (await _stored(repository)).path
    events: list[Event] = []
    with Upstream() as liar:
        publish_json(liar, [WHEEL], metadata=False, extra={"size": 5})
        async with _cached(liar, folder, emit=events.append) as repository:
            with pytest.raises(RepositoryError):
                await _read(repository)
    assert kept is not None
    assert kept.exists()
    assert not events


async def test_one_project_cannot_spoil_anothers_file(upstream: Upstream, folder: Path) -> None:
    """Who claims the digest of another project's file has no part in how that is fetched."""
    other = "bar-1.0-py3-none-any.whl"

    def page(project: str, name: str, path: str) -> None:
        anchor = f'<a href="{path}#sha256={WHEEL.sha256}">{name}</a>'
        reply = Reply(headers={"Content-Type": "text/html"}, body=anchor.encode())
        upstream.on(f"/simple/{project}/", reply)

    page("foo", NAME, PATH)
    page("bar", other, "/files/wrong")
    upstream.on(PATH, Reply(body=WHEEL.content))
    upstream.on("/files/wrong", Reply(body=bytes(len(WHEEL.content)), piece_delay_s=0.05))
    async with _cached(upstream, folder) as repository:
        wrong = asyncio.create_task(_read(repository, BAR, FileName(other)))
        await asyncio.sleep(0.15)
        assert await _read(repository) == WHEEL.content
        with pytest.raises(TransferAborted):
            await wrong


async def test_a_range_of_one_version_is_not_taken_from_another(
    upstream: Upstream, folder: Path
) -> None:
    """A file without a digest changes while it is fetched: a part is of what it is said to be."""
    publish_html(upstream, [WHEEL], hashes=False)
    upstream.on(PATH, _tagged(OLD, '"1"', piece_delay_s=0.05))
    async with _cached(upstream, folder) as repository:
        reading = asyncio.create_task(_read(repository))
        await asyncio.sleep(0.2)
        upstream.on(PATH, _tagged(NEW, '"2"', ranges=True))
        resource = await (await repository.get_resource(FOO, NAME)).with_size()
        assert resource.validator == '"2"'
        assert await _content(resource, ByteRange(1000, 2000)) == NEW[1000:2000]
        assert await reading == OLD


async def test_a_disk_that_fails_does_not_mix_versions(
    upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who goes on without the cache goes on with the same version, or is cut off."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    publish_html(upstream, [WHEEL], hashes=False)
    asked: list[Request] = []

    def script(request: Request) -> Reply:
        asked.append(request)
        content, tag = (OLD, '"1"') if len(asked) == 1 else (NEW, '"2"')
        return _tagged(content, tag, piece_delay_s=0.05)

    upstream.on(PATH, script)
    async with _cached(upstream, folder) as repository:
        resource = await repository.get_resource(FOO, NAME)
        async with resource.open() as body:
            chunks = aiter(body.chunks)
            got = await anext(chunks)
            monkeypatch.setattr("os.writev", full)
            with pytest.raises(TransferAborted):
                async for chunk in chunks:
                    got += chunk
            monkeypatch.undo()
    assert OLD.startswith(got)


async def test_another_size_on_the_page_is_another_file(upstream: Upstream, folder: Path) -> None:
    """A file without a digest whose page gives another size now is fetched again at once."""
    other = build_wheel("foo", "1.0", files={"foo/data.bin": b"other"})
    path = f"/files/{other.sha256[:2]}/{other.filename}"
    publish_json(upstream, [WHEEL], metadata=False, extra={"hashes": {}}, max_age=0)
    upstream.on(PATH, _tagged(WHEEL.content, '"1"'))
    async with _cached(upstream, folder) as repository:
        assert await _read(repository) == WHEEL.content
        await _stored(repository)
        page = {"hashes": {}, "url": upstream.url + PATH}
        publish_json(upstream, [other], metadata=False, extra=page, max_age=0)
        assert path != PATH
        upstream.on(PATH, _tagged(other.content, '"2"'))
        assert await _read(repository) == other.content


async def test_with_another_digest_nothing_has_to_be_asked(
    upstream: Upstream, folder: Path
) -> None:
    """A file whose index gives some other digest is the same as long as that is."""
    anchor = f'<a href="{PATH}#md5={md5(WHEEL.content).hexdigest()}">{NAME}</a>'
    upstream.on("/simple/foo/", Reply(headers={"Content-Type": "text/html"}, body=anchor.encode()))
    upstream.on(PATH, Reply(body=WHEEL.content))
    clock = Clock()
    async with _cached(upstream, folder, clock=clock) as repository:
        assert await _read(repository) == WHEEL.content
        await _stored(repository)
        clock.now += 3600
        assert await _read(repository) == WHEEL.content
    assert len(upstream.seen(PATH)) == 1
