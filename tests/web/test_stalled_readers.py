"""Clients that stop reading are cut off whatever they are sent, and whichever server sends it."""

import asyncio
import random
import socket
import string
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from simple_repository_server import (
    NO_CONTEXT,
    CacheFolder,
    File,
    FileCache,
    FileCacheRepository,
    FileName,
    FilesMode,
    HttpRepository,
    ProjectList,
    ProjectName,
    ProjectPage,
    RepositoryContainer,
    RequestContext,
    Resource,
)
from simple_repository_server.names import sorted_unique
from simple_repository_server.observe.events import Event, InternalFailure
from simple_repository_server.observe.server_events import ConnectionCut
from simple_repository_server.testing import Upstream, publish_json
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.server.connections import Limits
from tests.asgi import JSON
from tests.web.hostile import (
    LOOPS,
    REMOTE,
    STREAM,
    Client,
    finished,
    open_descriptors,
    still_answers,
    until,
)
from tests.web.lane import get, on_socket

pytestmark = pytest.mark.anyio

SHORT = Limits(head_s=5, idle_s=0.5, crowded_idle_s=0.5, stall_s=0.8, slow_s=60, sweep_s=0.05)
_RANDOM = random.Random(8)  # compressed, too, a list is more than the buffers of a connection hold
NAMES = sorted_unique(
    ProjectName("".join(_RANDOM.choices(string.ascii_lowercase + string.digits, k=48)))
    for _ in range(300_000)
)
BIG = ProjectName("big")
PAGE = ProjectPage(
    name=BIG,
    files=tuple(
        File(
            filename=FileName(f"big-{number}.tar.gz"),
            url="memory:",
            hashes={"sha256": f"{number:064x}"},
            size=number,
        )
        for number in range(60_000)
    ),
)


class _Way(msgspec.Struct, frozen=True):
    target: str
    lines: tuple[str, ...] = ()

    @property
    def request(self) -> bytes:
        return get(self.target, *self.lines)


AS_JSON = f"Accept: {JSON}"
WAYS = {
    "page": _Way("/simple/big/", (AS_JSON,)),
    "page of hypertext": _Way("/simple/big/"),
    "list that is unfolded": _Way("/simple/", (AS_JSON,)),
    "list that is compressed": _Way("/simple/", (AS_JSON, "Accept-Encoding: zstd")),
    "file, into the cache and from it": _Way(STREAM),
}


class Large(RepositoryContainer):
    """Beside what the source has, a list and a page of more bytes than a connection holds."""

    _all = ProjectList(names=NAMES)

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return self._all

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return self._all

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        if project == BIG:
            return PAGE
        return await self.source.get_project_page(project, context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        if project == BIG:
            return PAGE
        return self.source.peek_project_page(project, context=context)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        return self.source.peek_resource(project, filename, context=context)


@asynccontextmanager
async def _index(tmp_path: Path, upstream: Upstream, **options: Any) -> AsyncIterator[IndexApp]:
    publish_json(upstream, [REMOTE], max_age=600)
    files = FileCache(CacheFolder(tmp_path / "cache"))
    async with Large(FileCacheRepository(HttpRepository(upstream.simple), files)) as repository:
        yield IndexApp(repository, files=FilesMode.CACHE, **options)


@pytest.fixture(params=LOOPS, ids=["uvloop", "asyncio"])
def anyio_backend(request: Any) -> Any:
    """Both event loops."""
    return request.param


@pytest.mark.parametrize("way", WAYS)
async def test_the_command_cuts_them_off(tmp_path: Path, upstream: Upstream, way: str) -> None:
    """A client that takes nothing is cut, cold and warm, which is said once; nothing is left."""
    events: list[Event] = []
    target, request = WAYS[way].target, WAYS[way].request
    async with (
        _index(tmp_path, upstream, emit=events.append) as app,
        on_socket(app, limits=SHORT, emit=events.append) as server,
    ):
        before = open_descriptors()
        for _ in range(2):
            events.clear()
            async with Client(server.port, window=4096) as client:
                await client.send(request)
                await client.read(100)
                await until(lambda: server.connections.count == 0, within_s=15)
                await until(lambda: bool(finished(events, target)))
            (line,) = finished(events, target)
            said = [line.error] if line.error else []
            said += [event.text() for event in events if isinstance(event, ConnectionCut)]
            assert len(said) == 1, said
            assert said[0].endswith("the client received nothing for 0.8 s")
            await still_answers(server.port)
        await until(lambda: open_descriptors() <= before + 4)
    assert [event for event in events if isinstance(event, InternalFailure)] == []


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_idle_behind_an_answer_is_closed(
    tmp_path: Path, upstream: Upstream, way: str
) -> None:
    """A connection that is kept after a whole answer, of whatever kind, is closed when idle."""
    async with (
        _index(tmp_path, upstream) as app,
        on_socket(app, limits=SHORT) as server,
    ):
        for _ in range(2):
            async with Client(server.port) as client:
                await client.send(WAYS[way].request)
                received = await client.read_all()
            head, _, body = received.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close" not in head
            assert f"content-length: {len(body)}".encode() in head
            await until(lambda: server.connections.count == 0)


@asynccontextmanager
async def _hypercorn(app: Any) -> AsyncIterator[int]:
    """The application under Hypercorn; its port."""
    config = Config()
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "CRITICAL"
    config.graceful_timeout = 0.1
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    try:
        yield port
    finally:
        stop.set()
        await serving


@asynccontextmanager
async def _uvicorn(app: Any, http: Any) -> AsyncIterator[int]:
    async with on_socket(app, http=http) as running:
        yield running.port


OTHERS: dict[str, Callable[[Any], AbstractAsyncContextManager[int]]] = {
    "uvicorn-httptools": lambda app: _uvicorn(app, HttpToolsProtocol),
    "uvicorn-h11": lambda app: _uvicorn(app, H11Protocol),
    "hypercorn": _hypercorn,
}


@pytest.mark.parametrize("server", OTHERS)
@pytest.mark.parametrize("way", ["list that is unfolded", "file, into the cache and from it"])
async def test_other_servers_hold_nothing_for_them(
    tmp_path: Path, upstream: Upstream, way: str, server: str
) -> None:
    """Where the server has no say, a body in parts is ended by the application all the same."""
    events: list[Event] = []
    async with (
        _index(tmp_path, upstream, emit=events.append, send_timeout_s=0.5) as app,
        OTHERS[server](app) as port,
    ):
        async with Client(port, window=4096) as client:
            await client.send(WAYS[way].request)
            await client.read(100)
            await until(lambda: bool(finished(events, WAYS[way].target)))
            (line,) = finished(events, WAYS[way].target)
            assert line.error == "cut off: The client received nothing for 0.5 s."
            client.reset()
        await still_answers(port)
