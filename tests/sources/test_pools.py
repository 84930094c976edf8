"""Slow readers of files: they take no connection from pages, and waiting for one has an end."""

import asyncio
import contextlib
import os
from urllib.parse import urlsplit

import msgspec
import pytest

from simple_repository_server import HttpRepository, ProjectName
from simple_repository_server.errors import ProjectNotFound, SourceUnavailable
from simple_repository_server.resource import ByteRange, Resource
from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0")
SDIST = build_sdist("foo", "1.0")
LARGE = os.urandom(8 * 1024 * 1024)
LIMITS = Limits(
    connect_s=1, idle_s=2, page_s=5, attempts=1, connections=2, file_connections=2, pool_wait_s=0.2
)


def _large(upstream: Upstream) -> None:
    """`SDIST` is one that is long; nobody reads it to its end."""
    large = msgspec.structs.replace(SDIST, content=LARGE)
    publish_json(upstream, [WHEEL, large])


async def _file(repository: HttpRepository, suffix: str) -> Resource:
    page = await repository.get_project_page(FOO)
    [filename] = [file.filename for file in page.files if file.filename.endswith(suffix)]
    return await repository.get_resource(FOO, filename)


async def test_slow_readers_leave_connections_for_pages(upstream: Upstream) -> None:
    """With all connections for files in use, pages and short files come, and others fail soon."""
    _large(upstream)
    async with HttpRepository(upstream.simple, limits=LIMITS) as repository:
        large = await _file(repository, ".gz")
        async with contextlib.AsyncExitStack() as slow:
            for _ in range(LIMITS.file_connections):
                body = await slow.enter_async_context(large.open())
                await anext(aiter(body.chunks))
            upstream.on("/simple/bar/", Reply(status=404))
            with pytest.raises(Exception, match="not in this index"):
                await repository.get_project_page(ProjectName("bar"))
            async with (await _file(repository, ".whl")).open() as body:
                assert b"".join([chunk async for chunk in body.chunks]) == WHEEL.content
            assert (await large.with_size()).size == len(LARGE)
            async with large.open(ByteRange(0, 1000)) as body:
                assert b"".join([chunk async for chunk in body.chunks])
            with pytest.raises(SourceUnavailable) as caught:
                async with large.open():
                    pass
            assert type(caught.value) is SourceUnavailable
            assert caught.value.reason == "all 2 connections to it for files are in use"
            assert caught.value.retry_after_s == 1
            assert repository.source_states()[0].available is True, "that is no fault of its own"
        async with large.open() as body:
            await anext(aiter(body.chunks))


async def test_short_file_frees_its_connection_before_it_is_read(
    upstream: Upstream,
) -> None:
    """A body that has arrived in full holds no connection, however slowly it is read."""
    _large(upstream)
    async with HttpRepository(upstream.simple, limits=LIMITS) as repository:
        short = await _file(repository, ".whl")
        async with contextlib.AsyncExitStack() as slow:
            for _ in range(3 * LIMITS.connections):
                await slow.enter_async_context(short.open())
            assert (await repository.get_project_page(FOO)).files


@pytest.mark.parametrize("length", [None, -1])
async def test_whole_file_sent_for_a_range_uses_a_connection_for_files(
    upstream: Upstream, length: int | None
) -> None:
    """A range uses a connection for files if the index sends the whole file."""
    _large(upstream)
    upstream.on("/simple/bar/", Reply(status=404))
    async with HttpRepository(upstream.simple, limits=LIMITS) as repository:
        large = await _file(repository, ".gz")
        assert large.location is not None
        upstream.on(urlsplit(large.location).path, Reply(body=LARGE, length=length))
        async with contextlib.AsyncExitStack() as slow:
            for _ in range(LIMITS.file_connections):
                body = await slow.enter_async_context(large.open(ByteRange(0, 1000)))
                assert body.ranges_ignored
            with pytest.raises(ProjectNotFound):
                await repository.get_project_page(ProjectName("bar"))
            with pytest.raises(SourceUnavailable, match="connections to it for files are in use"):
                async with large.open(ByteRange(0, 1000)):
                    pass
        async with large.open(ByteRange(0, 1000)) as body:
            assert b"".join([chunk async for chunk in body.chunks]) == LARGE[:1000]


async def test_requests_wait_for_a_free_connection(upstream: Upstream) -> None:
    """More requests than connections are answered one after another."""
    for number in range(10):
        upstream.on(f"/simple/p{number}/", Reply(status=404, delay_s=0.02))
    limits = msgspec.structs.replace(LIMITS, pool_wait_s=3)
    async with HttpRepository(upstream.simple, limits=limits) as repository:
        asked = [repository.get_project_page(ProjectName(f"p{number}")) for number in range(10)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer).__name__ for answer in answers} == {"ProjectNotFound"}


async def test_cancelled_reader_frees_its_connection(upstream: Upstream) -> None:
    """However a transfer ends, its connection is free again."""
    _large(upstream)
    async with HttpRepository(upstream.simple, limits=LIMITS) as repository:
        large = await _file(repository, ".gz")

        async def read() -> None:
            async with large.open():
                await asyncio.sleep(60)

        for _ in range(3):
            readers = [asyncio.create_task(read()) for _ in range(5)]
            await asyncio.sleep(0.1)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        async with large.open(), large.open():
            pass
