"""What is believed of a wheel's metadata, and for how long: a fault that passes leaves no trace."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from simple_repository_server import (
    CacheFolder,
    FileName,
    HttpRepository,
    MetadataInjectorRepository,
    MetadataStore,
    ProjectName,
)
from simple_repository_server.errors import ResourceNotFound, SourceUnavailable
from simple_repository_server.model import RequestContext
from simple_repository_server.testing.distributions import Built, build_wheel, zip_of
from simple_repository_server.testing.published import JSON_TYPE, publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
QUICK = Limits(connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=1, probe_first_s=0.05)
WHEEL = build_wheel("foo", "1.0", requires=["bar>=2"])
#: Larger than what is read of a wheel at once.
LARGE = build_wheel("foo", "1.0", files={"foo/data.bin": bytes(300_000)}, compressed=False)
OTHER = build_wheel(
    "foo", "1.0", requires=["other"], files={"foo/data.bin": bytes(300_000)}, compressed=False
)
MINUTES, DAYS = 600.0, 5 * 24 * 3600.0


class Clock:
    """Now, and as much later as the test says."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """The time of day."""
        return time.time() + self.ahead


class Setting(msgspec.Struct):
    """An index with metadata in front of it."""

    repository: MetadataInjectorRepository
    clock: Clock
    name: str

    async def metadata(self, *, revalidate: bool = False) -> bytes:
        """The metadata of the wheel."""
        name = FileName(f"{self.name}.metadata")
        context = RequestContext(revalidate=revalidate)
        resource = await self.repository.get_resource(FOO, name, context=context)
        async with resource.open() as body:
            return b"".join([chunk async for chunk in body.chunks])

    async def announced(self) -> Any:
        """What the page says of it."""
        file = (await self.repository.get_project_page(FOO)).find(self.name)
        assert file is not None
        return file.core_metadata


@asynccontextmanager
async def _over(
    upstream: Upstream, folder: Path | None = None, *, name: str = WHEEL.filename, **options: Any
) -> AsyncIterator[Setting]:
    clock = Clock()
    store = MetadataStore(CacheFolder(folder / "kept")) if folder is not None else None
    source = HttpRepository(upstream.simple, limits=QUICK)
    async with MetadataInjectorRepository(
        source, store=store, clock=clock, **options
    ) as repository:
        yield Setting(repository, clock, name)


def _place(built: Built) -> str:
    return f"/files/{built.sha256[:2]}/{built.filename}"


def _serve(upstream: Upstream, wheel: Built, content: bytes, **how: Any) -> None:
    upstream.on(_place(wheel), Reply(body=content, **{"ranges": True, **how}))


FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "an error page": lambda content: b"<html>Please log in.</html>",
    "truncated": lambda content: content[:-200],
    "another archive": lambda content: zip_of({"foo.py": b""}),
    "another archive of that size": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("wheel", [WHEEL, LARGE], ids=["small", "large"])
async def test_bytes_that_are_not_the_wheels_leave_no_lasting_verdict(
    upstream: Upstream, tmp_path: Path, wheel: Built, fault: str, *, ranges: bool
) -> None:
    """Wrong bytes with status 200 are answered "later"; once they are right, so is the answer."""
    publish_html(upstream, [wheel])
    _serve(upstream, wheel, FAULTS[fault](wheel.content), ranges=ranges)
    async with _over(upstream, tmp_path) as foo:
        with pytest.raises(SourceUnavailable):
            await foo.metadata()
        assert await foo.announced() is False
        _serve(upstream, wheel, wheel.content)
        foo.clock.ahead = MINUTES
        assert await foo.announced() is True
        assert await foo.metadata() == wheel.metadata
    _serve(upstream, wheel, FAULTS[fault](wheel.content), ranges=ranges)
    async with _over(upstream, tmp_path / "another") as foo:
        with pytest.raises(SourceUnavailable):
            await foo.metadata()
    _serve(upstream, wheel, wheel.content)
    async with _over(upstream, tmp_path / "another") as foo:
        assert await foo.announced() is True
        assert await foo.metadata() == wheel.metadata


async def test_a_fault_is_not_asked_about_again_for_minutes(upstream: Upstream) -> None:
    """Who asks again gets the same answer without a word to upstream, unless with `no-cache`."""
    publish_json(upstream, [WHEEL], metadata=False, max_age=600)
    _serve(upstream, WHEEL, bytes(len(WHEEL.content)))
    async with _over(upstream) as foo:
        for _ in range(3):
            with pytest.raises(SourceUnavailable) as caught:
                await foo.metadata()
        assert len(upstream.seen(_place(WHEEL))) <= 2
        assert 0 < (caught.value.retry_after_s or 0) <= MINUTES
        _serve(upstream, WHEEL, WHEEL.content)
        assert await foo.metadata(revalidate=True) == WHEEL.metadata
        assert await foo.announced() == {"sha256": WHEEL.metadata_sha256}


async def test_checked_bytes_make_a_lasting_verdict(upstream: Upstream, tmp_path: Path) -> None:
    """A wheel that has its digest and no metadata never has any, whoever asks."""
    broken = Built("foo-1.0-py3-none-any.whl", zip_of({"a": bytes(400_000)}, compressed=False), b"")
    publish_html(upstream, [broken])
    async with _over(upstream, tmp_path) as foo:
        with pytest.raises(ResourceNotFound):
            await foo.metadata()
    upstream.forget()
    async with _over(upstream, tmp_path) as foo:
        foo.clock.ahead = DAYS
        assert await foo.announced() is False
        with pytest.raises(ResourceNotFound):
            await foo.metadata(revalidate=True)
    assert upstream.seen(_place(broken)) == []


async def test_what_was_read_by_ranges_alone_is_not_kept_for_ever(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Metadata out of a part of a wheel is read again after a day, and put right."""
    publish_html(upstream, [LARGE])
    _serve(upstream, LARGE, OTHER.content)
    async with _over(upstream, tmp_path) as foo:
        assert await foo.metadata() == OTHER.metadata
    _serve(upstream, LARGE, LARGE.content)
    async with _over(upstream, tmp_path) as foo:
        assert await foo.metadata() == OTHER.metadata
        foo.clock.ahead = DAYS
        assert await foo.announced() is True
        assert await foo.metadata() == LARGE.metadata
        assert await foo.announced() == {"sha256": LARGE.metadata_sha256}


async def test_what_was_read_by_ranges_serves_while_upstream_is_down(
    upstream: Upstream, tmp_path: Path
) -> None:
    """What cannot be read again just now is still believed."""
    publish_json(upstream, [LARGE], metadata=False, max_age=600)
    async with _over(upstream, tmp_path) as foo:
        assert await foo.metadata() == LARGE.metadata
        upstream.on(_place(LARGE), Reply(status=503))
        foo.clock.ahead = DAYS
        assert await foo.metadata() == LARGE.metadata


async def test_what_was_read_by_ranges_is_not_served_on_refusal(
    upstream: Upstream, tmp_path: Path
) -> None:
    """An index that does not let us see the wheel any more is not down."""
    publish_json(upstream, [LARGE], metadata=False, max_age=600)
    async with _over(upstream, tmp_path) as foo:
        assert await foo.metadata() == LARGE.metadata
        upstream.on(_place(LARGE), Reply(status=403))
        foo.clock.ahead = DAYS
        with pytest.raises(SourceUnavailable):
            await foo.metadata()


async def test_checked_metadata_is_kept_for_ever(upstream: Upstream, tmp_path: Path) -> None:
    """What was read out of all of a wheel is not read again."""
    publish_json(upstream, [WHEEL], metadata=False)
    async with _over(upstream, tmp_path) as foo:
        assert await foo.metadata() == WHEEL.metadata
    upstream.forget()
    async with _over(upstream, tmp_path) as foo:
        foo.clock.ahead = DAYS
        assert await foo.announced() == {"sha256": WHEEL.metadata_sha256}
        assert await foo.metadata() == WHEEL.metadata
    assert upstream.seen(_place(WHEEL)) == []


async def test_ranges_of_two_versions_are_not_put_together(upstream: Upstream) -> None:
    """A wheel that is replaced between two ranges is not read as one."""
    publish_html(upstream, [LARGE])
    replies = [
        Reply(body=LARGE.content, ranges=True, headers={"ETag": '"1"'}),
        Reply(body=LARGE.content, ranges=True, headers={"ETag": '"2"'}),
    ]
    upstream.on(_place(LARGE), replies)
    async with _over(upstream, download_bytes=1000) as foo:
        with pytest.raises(SourceUnavailable):
            await foo.metadata()


@pytest.mark.parametrize("content", [b"<html>error</html>", build_wheel("foo", "2.0").metadata])
async def test_a_sibling_without_a_digest_has_to_make_sense(
    upstream: Upstream, content: bytes
) -> None:
    """An announced sibling that is not metadata of that wheel is no use; the wheel has it."""
    publish_json(upstream, [WHEEL], extra={"core-metadata": True})
    upstream.on(f"{_place(WHEEL)}.metadata", Reply(body=content))
    _serve(upstream, WHEEL, WHEEL.content)
    async with _over(upstream) as foo:
        assert await foo.metadata() == WHEEL.metadata


async def test_metadata_changes_with_its_announced_digest(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Where a source replaces the metadata of a wheel, the new one is served."""
    publish_json(upstream, [WHEEL])
    changed = Built(WHEEL.filename, WHEEL.content, WHEEL.metadata.replace(b"bar>=2", b"bar>=3"))
    for wheel in (WHEEL, changed):
        publish_json(upstream, [wheel])
        async with _over(upstream, tmp_path) as foo:
            assert await foo.metadata() == wheel.metadata


# --- without digests -----------------------------------------------------------------------------


@pytest.mark.parametrize("versioned", [True, False])
async def test_a_replaced_wheel_without_a_digest_has_new_metadata(
    upstream: Upstream, tmp_path: Path, *, versioned: bool
) -> None:
    """The metadata of a wheel without a digest follows the wheel, and is never on disk."""
    replaced = build_wheel("foo", "1.0", requires=["bar>=3"])
    publish_html(upstream, [WHEEL], hashes=False)
    first, second = ({"ETag": f'"{n}"'} if versioned else {} for n in (1, 2))
    _serve(upstream, WHEEL, WHEEL.content, headers=first)
    async with _over(upstream, tmp_path) as foo:
        assert await foo.metadata() == WHEEL.metadata
        assert await foo.announced() is True
        _serve(upstream, WHEEL, replaced.content, headers=second)
        foo.clock.ahead = MINUTES
        assert await foo.metadata() == replaced.metadata
        assert await foo.announced() is True
    assert not list(tmp_path.glob("**/metadata/foo/*"))


async def test_an_unchanged_wheel_without_a_digest_is_confirmed(upstream: Upstream) -> None:
    """One HEAD says that the wheel is the same; it is not read again, and the page is the same."""
    publish_html(upstream, [WHEEL], hashes=False)
    _serve(upstream, WHEEL, WHEEL.content, headers={"ETag": '"1"'})
    async with _over(upstream) as foo:
        assert await foo.metadata() == WHEEL.metadata
        upstream.forget()
        assert await foo.metadata() == WHEEL.metadata
        assert upstream.seen(_place(WHEEL)) == []
        foo.clock.ahead = MINUTES
        assert await foo.metadata() == WHEEL.metadata
    assert [request.method for request in upstream.seen(_place(WHEEL))] == ["HEAD"]


async def test_without_a_digest_nothing_is_unreadable_for_good(upstream: Upstream) -> None:
    """A wheel that cannot be read, and has no digest, is announced no longer for minutes only."""
    publish_html(upstream, [WHEEL], hashes=False)
    _serve(upstream, WHEEL, b"not a zip")
    async with _over(upstream) as foo:
        with pytest.raises(SourceUnavailable):
            await foo.metadata()
        assert await foo.announced() is False
        _serve(upstream, WHEEL, WHEEL.content)
        foo.clock.ahead = MINUTES
        assert await foo.announced() is True
        assert await foo.metadata() == WHEEL.metadata


# --- what is gone --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("metadata", [True, False], ids=["announced upstream", "by us"])
async def test_a_wheel_that_is_gone_is_announced_no_longer(
    upstream: Upstream, status: int, *, metadata: bool
) -> None:
    """Once it has shown that upstream has no such file; minutes later it is looked for again."""
    publish_json(upstream, [WHEEL], metadata=metadata, max_age=600)
    upstream.on(_place(WHEEL), Reply(status=status))
    upstream.on(f"{_place(WHEEL)}.metadata", Reply(status=status))
    async with _over(upstream) as foo:
        assert await foo.announced()
        with pytest.raises(ResourceNotFound):
            await foo.metadata()
        assert await foo.announced() is False
        asked = len(upstream.requests)
        with pytest.raises(ResourceNotFound):
            await foo.metadata()
        assert len(upstream.requests) == asked
        _serve(upstream, WHEEL, WHEEL.content)
        foo.clock.ahead = MINUTES
        assert await foo.announced()
        assert await foo.metadata() == WHEEL.metadata


async def test_a_wheel_that_is_back_on_another_page_is_announced(upstream: Upstream) -> None:
    """A page that changed counts as news of its files."""
    publish_json(upstream, [WHEEL], metadata=False, max_age=0)
    upstream.on(_place(WHEEL), Reply(status=404))
    async with _over(upstream) as foo:
        with pytest.raises(ResourceNotFound):
            await foo.metadata()
        assert await foo.announced() is False
        publish_json(upstream, [WHEEL, build_wheel("foo", "1.1")], metadata=False, max_age=0)
        assert await foo.announced() is True
        assert await foo.metadata() == WHEEL.metadata


# --- long names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [246, 247, 255])
async def test_the_longest_names_have_metadata(upstream: Upstream, length: int) -> None:
    """What is announced is served, up to the longest name that a file can have."""
    tag = "t" * (length - len("foo-1.0-py3--any.whl"))
    wheel = Built(f"foo-1.0-py3-{tag}-any.whl", WHEEL.content, WHEEL.metadata)
    assert len(wheel.filename) == length
    page = {
        "meta": {"api-version": "1.0"},
        "name": "foo",
        "files": [
            {
                "filename": wheel.filename,
                "url": upstream.url + "/w",
                "hashes": {"sha256": wheel.sha256},
            }
        ],
    }
    reply = Reply(headers={"Content-Type": JSON_TYPE}, body=msgspec.json.encode(page))
    upstream.on("/simple/foo/", reply)
    upstream.on("/w", Reply(body=wheel.content, ranges=True))
    async with _over(upstream, name=wheel.filename) as foo:
        assert await foo.announced() is True
        assert await foo.metadata() == wheel.metadata
