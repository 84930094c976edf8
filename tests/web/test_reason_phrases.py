"""What is wrong stands in the status line: many installers show that, and never the body."""

from pathlib import Path
from typing import Any

import pytest

from simple_repository_server import HttpRepository
from simple_repository_server.testing import Reply, Upstream
from simple_repository_server.web.index import IndexApp
from tests.web.hostile import Client
from tests.web.lane import get, on_socket

pytestmark = pytest.mark.anyio
BROKEN = Reply(status=500)


async def _asked(app: Any, *requests: bytes) -> bytes:
    async with on_socket(app) as server, Client(server.port) as client:
        await client.send(b"".join(requests))
        client.half_close()
        return await client.read_all()


async def test_a_failing_source_is_named_in_the_status_line(upstream: Upstream) -> None:
    """The sentence of the body is the reason phrase, for GET and HEAD, and the framing holds."""
    upstream.on("/simple/foo/", BROKEN)
    async with HttpRepository(upstream.simple) as repository:
        page = "/simple/foo/"
        received = await _asked(
            IndexApp(repository),
            get(page),
            get(page, method="HEAD"),
            get("/healthz"),
            get(page, "Connection: close"),
        )
    sentence = f"The source {upstream.simple} is unavailable: it answers with status 500."
    first = f"HTTP/1.1 503 {sentence}\r\n".encode()
    assert received.startswith(first)
    assert received.count(first) == 3
    assert received.count(f"\r\n\r\n{sentence}\n".encode()) == 2
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 1
    assert received.count(b"connection: close\r\n") == 1
    assert received.count(b"retry-after: 1\r\n") == 3


async def test_a_client_of_http_1_0_gets_the_phrase(upstream: Upstream) -> None:
    """Its answer is complete, and ends with the connection."""
    upstream.on("/simple/foo/", BROKEN)
    async with HttpRepository(upstream.simple) as repository:
        received = await _asked(
            IndexApp(repository), get("/simple/foo/").replace(b"HTTP/1.1", b"HTTP/1.0")
        )
    assert received.startswith(b"HTTP/1.1 503 The source ")
    assert received.endswith(b"status 500.\n")


async def test_a_request_that_is_wrong_gets_the_usual_phrase(tmp_path: Path) -> None:
    """Nothing that a client sent is repeated in a status line."""
    async with HttpRepository("http://127.0.0.1:9/simple/") as repository:
        received = await _asked(IndexApp(repository), get("/sime/x%0d%0aY:%20z/"))
    assert received.startswith(b"HTTP/1.1 404 Not Found\r\n")
