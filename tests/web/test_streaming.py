"""Streamed files: a short one is checked as a whole before the answer begins."""

import os

import pytest

from simple_repository_server import HttpRepository, create_app
from simple_repository_server.model import FilesMode
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
