"""Files whose content changed behind our back, in their place and with their old time."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server import FilesMode, HttpRepository, LocalRepository, create_app
from simple_repository_server.cache.files import FileCache
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from tests.asgi import ask, running

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("foo", "1.0", files={"data.bin": b"x" * 1_000}, compressed=False)
TARGET = f"/resources/foo/{WHEEL.filename}"


def _corrupt(path: Path) -> None:
    """Flip a bit, as a disk does: no time tells of it."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


async def test_a_small_file_that_lacks_its_digest_is_not_sent(tmp_path: Path) -> None:
    """A local file is refused each time, saying why, until its content is right again."""
    path = tmp_path / WHEEL.filename
    path.write_bytes(WHEEL.content)
    async with running(create_app(LocalRepository(tmp_path))) as app:
        assert (await ask(app, "/simple/foo/")).status == 200
        _corrupt(path)
        for _ in range(2):
            answer = await ask(app, TARGET)
            assert answer.status == 503
            assert "sha256 digest" in answer.text
        _corrupt(path)
        answer = await ask(app, TARGET)
        assert (answer.status, answer.body) == (200, WHEEL.content)


async def test_a_small_cached_file_that_lacks_its_digest_is_fetched_again(
    upstream: Upstream, tmp_path: Path
) -> None:
    """The client gets the right bytes from upstream, and they replace the corrupt ones."""
    publish_json(upstream, [WHEEL])
    disk = CacheFolder(tmp_path / "cache")
    source = FileCacheRepository(HttpRepository(upstream.simple), FileCache(disk))
    async with running(create_app(source, files=FilesMode.CACHE)) as app:
        assert (await ask(app, TARGET)).body == WHEEL.content
        await _until(lambda: len(_cached(disk)) == 1)
        (path,) = _cached(disk)
        _corrupt(path)
        answer = await ask(app, TARGET)
        assert (answer.status, answer.body) == (200, WHEEL.content)
        await _until(lambda: path.read_bytes() == WHEEL.content)
        assert (await ask(app, TARGET)).body == WHEEL.content


async def test_a_part_of_a_corrupt_cached_file_says_of_what_it_is(
    upstream: Upstream, tmp_path: Path
) -> None:
    """The part comes from upstream, with the size of the whole, which its page does not give."""
    publish_html(upstream, [WHEEL])
    disk = CacheFolder(tmp_path / "cache")
    source = FileCacheRepository(HttpRepository(upstream.simple), FileCache(disk))
    async with running(create_app(source, files=FilesMode.CACHE)) as app:
        assert (await ask(app, TARGET)).body == WHEEL.content
        await _until(lambda: len(_cached(disk)) == 1)
        _corrupt(_cached(disk)[0])
        answer = await ask(app, TARGET, headers={"Range": "bytes=50-149"})
        assert (answer.status, answer.body) == (206, WHEEL.content[50:150])
        assert answer.headers["content-range"] == f"bytes 50-149/{len(WHEEL.content)}"


def _cached(disk: CacheFolder) -> list[Path]:
    return [path for path in (disk.folder / "files").rglob("*") if path.is_file()]


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - it is on a disk
            await asyncio.sleep(0.01)
