"""Entries are separate for each credential, and a refusal is an answer."""

import asyncio
import contextlib
import stat
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.projects import refresh
from simple_repository_server.disk.secret_key import fingerprint, folder_key
from simple_repository_server.disk.verify import Verification
from simple_repository_server.errors import RepositoryError, SourceUnavailable
from simple_repository_server.model import NO_CONTEXT, RequestContext
from simple_repository_server.names import FileName
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from tests.cache.indexes import BAR, FOO, Clock, index

pytestmark = pytest.mark.anyio

WHEEL, OTHER = build_wheel("foo", "1.0"), build_wheel("bar", "1.0")
NAME = FileName(WHEEL.filename)
REVALIDATE = RequestContext(revalidate=True)
ME, YOU = "__token__:mine", "__token__:yours"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache lies."""
    return tmp_path / "cache"


async def test_tokens_of_one_user_do_not_share_pages(upstream: Upstream, folder: Path) -> None:
    """What an index showed to one token is not served to another."""
    publish_json(upstream, [WHEEL], max_age=300)
    async with index(upstream, folder, user=ME) as repository:
        await repository.get_project_page(FOO)
        await repository.get_project_list()
    for target in ("/simple/", "/simple/foo/"):
        upstream.on(target, Reply(status=401))
    async with index(upstream, folder, user=YOU) as repository:
        with pytest.raises(SourceUnavailable, match="refuses us"):
            await repository.get_project_page(FOO)
        with pytest.raises(SourceUnavailable, match="refuses us"):
            await repository.get_project_list()
    async with index(upstream, folder, user=YOU, offline=True) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)
    async with index(upstream, folder, user=ME) as repository:
        assert (await repository.get_project_page(FOO)).files, "its own are still there"


async def test_folder_key_is_created_once_and_private(folder: Path) -> None:
    """Any number of processes that start at once share it, and other users cannot read it."""
    async with AsyncExitStack() as stack:
        disks = [await stack.enter_async_context(CacheFolder(folder)) for _ in range(10)]
        keys = set(await asyncio.gather(*(folder_key(disk) for disk in disks)))
        (key,) = keys
        assert len(key) == 32
        assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
        (folder / "key").write_bytes(b"short")
        again = await folder_key(disks[0])
        assert len(again) == 32
        assert again != key
        assert await folder_key(disks[1]) == again
        assert not list((folder / "partial").iterdir())
    assert fingerprint(key, b"secret") != fingerprint(again, b"secret")


async def test_read_only_folder_without_a_key_is_not_used(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Pages are served as if nothing had been cached."""
    (tmp_path / "file").write_bytes(b"")
    publish_json(upstream, [WHEEL], max_age=300)
    async with index(upstream, tmp_path / "file" / "cache", user=ME) as repository:
        assert (await repository.get_project_page(FOO)).files


async def test_files_without_digests_are_cached_per_token(upstream: Upstream, folder: Path) -> None:
    """Where no sha256 identifies a file, one token's content is not served to another."""
    publish_html(upstream, [WHEEL], hashes=False)
    identities, found = set(), []
    for user in (ME, YOU, "", ME, YOU, ""):
        cache = FileCache(CacheFolder(folder))
        async with FileCacheRepository(index(upstream, folder, user=user), cache) as repository:
            resource = await repository.source.get_resource(FOO, NAME)
            identities.add(resource.cache_key)
            found.append(await cache.lookup_origin(resource) is not None)
            async with (await repository.get_resource(FOO, NAME)).open() as body:
                assert b"".join([chunk async for chunk in body.chunks]) == WHEEL.content
            await asyncio.sleep(0.2)
    assert found == [False] * 3 + [True] * 3
    assert len(identities) == 3
    assert not any("mine" in str(one) or "yours" in str(one) for one in identities)


async def test_token_in_a_url_is_not_written_to_disk(upstream: Upstream, folder: Path) -> None:
    """Neither in a head nor in a file name; links are relative to that URL all the same."""
    body = b'<a href="foo-1.0.tar.gz">foo-1.0.tar.gz</a>'
    reply = Reply(headers={"Content-Type": "text/html", "Cache-Control": "max-age=300"}, body=body)
    upstream.on("/t0p-s3cret/foo/", reply)
    url = f"{upstream.url}/t0p-s3cret/"
    for offline in (False, False, True):
        policy, disk = CachePolicy(offline=offline), CacheFolder(folder)
        async with HttpRepository(url, label="${INDEX}", cache=disk, policy=policy) as repository:
            page = await repository.get_project_page(FOO)
        assert [file.url for file in page.files] == [f"{url}foo/foo-1.0.tar.gz"]
    assert len(upstream.requests) == 1
    for path in folder.rglob("*"):
        assert "t0p-s3cret" not in str(path)
        assert path.is_dir() or b"t0p-s3cret" not in path.read_bytes()


# --- a token is revoked --------------------------------------------------------------------------

Ask = Callable[[HttpRepository], Awaitable[object]]


async def _page(repository: HttpRepository) -> object:
    return await repository.get_project_page(FOO)


async def _list(repository: HttpRepository) -> object:
    return await repository.get_project_list()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("target", "ask"), [("/simple/foo/", _page), ("/simple/", _list)])
async def test_refused_page_is_not_served_stale(
    upstream: Upstream, folder: Path, target: str, ask: Ask, status: int
) -> None:
    """Not then, not in an outage that follows, not offline, not by the next process."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    async with index(upstream, folder, clock=clock, user=ME) as repository:
        await ask(repository)
        clock.now += 8 * 24 * 3600 - 2
        upstream.on(target, Reply(status=status))
        for _ in range(2):
            with pytest.raises(SourceUnavailable, match=f"refuses us.*{status}"):
                await ask(repository)
        assert repository.peek_project_page(FOO) is None
        assert repository.peek_project_list() is None
        upstream.refuse()
        with pytest.raises(SourceUnavailable, match="no connection|broke off"):
            await ask(repository)
    async with index(upstream, folder, clock=clock, user=ME) as repository:
        with pytest.raises(SourceUnavailable):
            await ask(repository)
    async with index(upstream, folder, clock=clock, user=ME, offline=True) as repository:
        with pytest.raises(SourceUnavailable, match="offline.*refuses us"):
            await ask(repository)


async def test_refusal_forbids_stale_service_of_all_pages(upstream: Upstream, folder: Path) -> None:
    """Until the index answers well."""
    publish_json(upstream, [WHEEL, OTHER], max_age=300)
    clock = Clock()
    async with (
        index(upstream, folder, clock=clock, user=ME) as one,
        index(upstream, folder, clock=clock, user=ME) as other,
    ):
        for repository in (one, other):
            await repository.get_project_page(FOO)
            await repository.get_project_page(BAR)
        await asyncio.sleep(0.1)
        clock.now += 301
        upstream.on("/simple/bar/", Reply(reset=True))
        assert (await one.get_project_page(BAR)).freshness.stale_reason
        assert one.peek_project_page(BAR) is not None
        upstream.on("/simple/foo/", Reply(status=401))
        with pytest.raises(SourceUnavailable):
            await one.get_project_page(FOO)
        await asyncio.sleep(0.1)
        assert one.peek_project_page(BAR) is None
        for repository in (one, other):
            with pytest.raises(SourceUnavailable):
                await repository.get_project_page(BAR)
        publish_json(upstream, [WHEEL, OTHER], max_age=300)
        assert (await one.get_project_page(FOO)).files
        await asyncio.sleep(0.1)
        upstream.on("/simple/bar/", Reply(reset=True))
        assert (await one.get_project_page(BAR)).freshness.stale_reason, "it answered well"
    async with index(upstream, folder, clock=clock, user=ME) as repository:
        assert (await repository.get_project_page(BAR)).freshness.stale_reason


async def test_revoked_token_gets_at_most_one_page_by_stale_while_revalidate(
    upstream: Upstream, folder: Path
) -> None:
    """It is served before the index was requested; no page and no list after it."""
    publish_json(upstream, [WHEEL, OTHER], max_age=300)
    clock = Clock()
    async with index(
        upstream, folder, clock=clock, user=ME, stale_while_revalidate_s=600
    ) as repository:
        await repository.get_project_page(FOO)
        await repository.get_project_page(BAR)
        await repository.get_project_list()
        clock.now += 301
        for target in ("/simple/foo/", "/simple/bar/", "/simple/"):
            upstream.on(target, Reply(status=401))
        assert (await repository.get_project_page(FOO)).files
        async with asyncio.timeout(5):
            while repository.source_states()[0].available:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for project in (FOO, BAR):
            with pytest.raises(SourceUnavailable, match="refuses us"):
                await repository.get_project_page(project)
        with pytest.raises(SourceUnavailable, match="refuses us"):
            await repository.get_project_list()


async def test_refusal_counts_before_the_disk_is_read(upstream: Upstream, folder: Path) -> None:
    """Once the failure is reported no request is served stale, whatever is still read from disk."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    served: list[bool] = []

    async def request(repository: HttpRepository) -> None:
        try:
            await repository.get_project_page(FOO)
        except SourceUnavailable:
            served.append(False)
        else:
            served.append(True)

    async with index(
        upstream, folder, clock=clock, user=ME, stale_while_revalidate_s=600
    ) as repository:
        await repository.get_project_page(FOO)
        clock.now += 301
        upstream.on("/simple/foo/", Reply(status=401))
        assert (await repository.get_project_page(FOO)).files
        async with asyncio.timeout(5):
            while repository.source_states()[0].available:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await request(repository)
    assert served == [False]


async def test_refusal_is_known_to_other_processes(upstream: Upstream, folder: Path) -> None:
    """They request it first; if the index is down then, the refusal counts."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    async with (
        index(upstream, folder, clock=clock, user=ME) as one,
        index(upstream, folder, clock=clock, user=ME) as other,
    ):
        await one.get_project_page(FOO)
        await asyncio.sleep(0.1)
        await other.get_project_page(FOO)
        clock.now += 301
        upstream.on("/simple/foo/", Reply(status=403))
        with pytest.raises(SourceUnavailable):
            await one.get_project_page(FOO)
        await asyncio.sleep(0.1)
        upstream.refuse()
        with pytest.raises(SourceUnavailable):
            await other.get_project_page(FOO)


async def test_other_processes_stop_stale_service_within_a_second(
    upstream: Upstream, folder: Path
) -> None:
    """Also in the pause after a failure, when they send no request."""
    publish_json(upstream, [WHEEL, OTHER], max_age=300)
    clock = Clock()
    async with (
        index(upstream, folder, clock=clock, user=ME) as one,
        index(upstream, folder, clock=clock, user=ME) as other,
    ):
        for project in (FOO, BAR):
            await other.get_project_page(project)
        clock.now += 301
        upstream.refuse()
        assert (await other.get_project_page(BAR)).freshness.stale_reason
        assert other.peek_project_page(BAR) is not None
        upstream.refuse(refusing=False)
        upstream.on("/simple/foo/", Reply(status=401))
        with pytest.raises(SourceUnavailable):
            await one.get_project_page(FOO)
        async with asyncio.timeout(10):
            while other.peek_project_page(BAR) is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_refusal_ends_when_any_process_gets_an_answer(
    upstream: Upstream, folder: Path
) -> None:
    """Also for the next process, offline."""
    publish_json(upstream, [WHEEL, OTHER], max_age=0)
    async with (
        index(upstream, folder, user=ME) as one,
        index(upstream, folder, user=ME) as other,
    ):
        await other.get_project_page(BAR)
        upstream.on("/simple/foo/", Reply(status=403))
        with pytest.raises(SourceUnavailable):
            await one.get_project_page(FOO)
        async with asyncio.timeout(10):
            while True:
                await other.get_project_page(BAR, context=REVALIDATE)
                async with index(upstream, folder, user=ME, offline=True) as next_one:
                    with contextlib.suppress(SourceUnavailable):
                        assert (await next_one.get_project_page(BAR)).files
                        break
                await asyncio.sleep(0.1)
            while True:  # the one that was refused knows, too
                upstream.on("/simple/bar/", Reply(reset=True))
                with contextlib.suppress(SourceUnavailable):
                    assert (await one.get_project_page(BAR)).freshness.stale_reason
                    break
                await asyncio.sleep(0.1)


async def test_refusal_after_no_cache_discards_the_fresh_page(
    upstream: Upstream, folder: Path
) -> None:
    """It is served neither from memory nor from disk."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    async with index(upstream, folder, clock=clock, user=ME) as repository:
        await repository.get_project_page(FOO)
        clock.now += 10
        upstream.on("/simple/foo/", Reply(status=401))
        for context in (REVALIDATE, NO_CONTEXT):
            with pytest.raises(SourceUnavailable, match="refuses us"):
                await repository.get_project_page(FOO, context=context)


async def test_refused_file_without_a_digest_is_not_served_from_the_cache(
    upstream: Upstream, folder: Path
) -> None:
    """A refusal is an answer; an outage is not."""
    publish_html(upstream, [WHEEL], hashes=False)
    target = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
    clock = Clock()
    disk = CacheFolder(folder, clock=clock)
    source = index(upstream, folder, clock=clock, user=ME)
    async with FileCacheRepository(source, FileCache(disk)) as repository:
        async with (await repository.get_resource(FOO, NAME)).open() as body:
            assert [chunk async for chunk in body.chunks]
        await asyncio.sleep(0.2)
        clock.now += 59
        await repository.get_resource(FOO, NAME)
        clock.now += 2
        upstream.on(target, Reply(reset=True))
        assert (await repository.get_resource(FOO, NAME)).sha256 == WHEEL.sha256
        upstream.on(target, Reply(status=403))
        with pytest.raises(SourceUnavailable, match="refuses us"):
            await repository.get_resource(FOO, NAME)


async def test_status_407_of_a_proxy_is_an_outage(upstream: Upstream, folder: Path) -> None:
    """It is not a refusal by the index, so stale pages are served."""
    publish_json(upstream, [WHEEL], max_age=300)
    clock = Clock()
    async with index(upstream, folder, clock=clock, user=ME) as repository:
        await repository.get_project_page(FOO)
        clock.now += 301
        upstream.on("/simple/foo/", Reply(status=407))
        assert "407" in ((await repository.get_project_page(FOO)).freshness.stale_reason or "")


async def test_verify_knows_every_kind_of_entry(upstream: Upstream, folder: Path) -> None:
    """Pages, negative entries, the key and the changes."""
    publish_json(upstream, [WHEEL])
    async with index(upstream, folder, user=ME) as repository:
        await repository.get_project_page(FOO)
        for status in (404, 401):
            upstream.on("/simple/bar/", Reply(status=status))
            with pytest.raises(RepositoryError):
                await repository.get_project_page(BAR, context=REVALIDATE)
            await asyncio.sleep(1.1)
    refresh(folder, FOO)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names == {"CACHEDIR.TAG", "key", "changes", "foo", "bar", ".refused"}
    verification = Verification(CacheFolder(folder))
    assert list(verification.run()) == []
    assert verification.foreign() == []
