"""Streamed files: a short one is checked as a whole before the answer begins."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from simple_repository_server import HttpRepository, MemoryRepository, create_app
from simple_repository_server.model import NO_CONTEXT, FilesMode, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.resource import Body, ByteRange, Resource
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits
from tests.asgi import ask, running

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("foo", files={"foo/data.bin": os.urandom(90_000)}, compressed=False)
FILE = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
TARGET = f"/resources/foo/{WHEEL.filename}"
LIMITS = Limits(attempts=1, idle_s=2)


@pytest.mark.parametrize("piece", [1_000, 90_000])
async def test_short_file_is_streamed_whole(upstream: Upstream, piece: int) -> None:
    """However the upstream's chunks are cut, the client gets the file with its length."""
    publish_json(upstream, [WHEEL])
    upstream.on(FILE, Reply(body=WHEEL.content, piece=piece))
    repository = HttpRepository(upstream.simple, limits=LIMITS)
    async with running(create_app(repository, files=FilesMode.STREAM)) as app:
        answer = await ask(app, TARGET)
        part = await ask(app, TARGET, headers={"Range": "bytes=10-19"})
    assert (answer.status, answer.body) == (200, WHEEL.content)
    assert answer.headers["content-length"] == str(len(WHEEL.content))
    assert (part.status, part.body) == (206, WHEEL.content[10:20])


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=WHEEL.content[:-1] + b"x", piece=30_000, piece_delay_s=0.05),
        Reply(body=WHEEL.content, stop_after=len(WHEEL.content) - 1),
        Reply(body=WHEEL.content, length=-1, stop_after=len(WHEEL.content) - 1),
    ],
    ids=["digest", "truncated", "truncated chunk"],
)
async def test_wrong_short_file_is_answered_with_an_error(upstream: Upstream, reply: Reply) -> None:
    """Clients get a proper 502 rather than a connection that is cut after the first bytes."""
    publish_json(upstream, [WHEEL])
    upstream.on(FILE, reply)
    repository = HttpRepository(upstream.simple, limits=LIMITS)
    async with running(create_app(repository, files=FilesMode.STREAM)) as app:
        answer = await ask(app, TARGET)
    assert answer.status == 502
    assert "content-length" in answer.headers


class _Lying(Resource):
    """A resource of someone else, whose body has other bytes than it announces."""

    def __init__(self, chunks: int) -> None:
        self.given = 0
        self._chunks = chunks

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        async def chunks() -> AsyncIterator[bytes]:
            while self.given < self._chunks:
                self.given += 1
                yield b"x" * 100

        yield Body(chunks=chunks(), length=1000)


class _OfLiar(MemoryRepository):
    """Its only file is `resource`."""

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self._lying = resource

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        return self._lying

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> None:
        return None


@pytest.mark.parametrize(("chunks", "read"), [(9, 9), (100_000, 11)])
async def test_short_body_of_another_length_is_answered_with_an_error(
    chunks: int, read: int
) -> None:
    """Neither a shorter body nor one without an end is received beyond what it announced."""
    resource = _Lying(chunks)
    async with running(create_app(_OfLiar(resource))) as app:
        answer = await ask(app, TARGET)
    assert (answer.status, resource.given) == (502, read)
