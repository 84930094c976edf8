"""The protocol of the command on a real socket, in the test's own event loop, with any limits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from typing import Any

import msgspec
import uvicorn
from typing_extensions import override
from uvicorn.server import ServerState

from simple_repository_server.observe.events import Event
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.server.connections import Connections, Limits
from simple_repository_server.web.server.fast_lane import FastLane
from simple_repository_server.web.server.forwarded import NOBODY, TrustedProxies
from simple_repository_server.web.server.heads import Heads
from simple_repository_server.web.server.protocol import IndexProtocol


class Running:
    """A server: its port, its protocols, the connections it watches over, and its events."""

    def __init__(self, port: int, state: ServerState, connections: Connections) -> None:
        self.port = port
        self.state = state
        self.connections = connections
        #: How many requests went without an ASGI task.
        self.fast = 0
        #: What answers them; only for our own protocol.
        self.lane: FastLane


@asynccontextmanager
async def on_socket(
    app: Any,
    *,
    limits: Limits | None = None,
    emit: Callable[[Event], None] = lambda _: None,
    http: Any = IndexProtocol,
    proxies: TrustedProxies = NOBODY,
) -> AsyncIterator[Running]:
    """Serve `app` (whose repository is entered already) with the protocol on a free port."""
    config = uvicorn.Config(
        app,
        http=http,
        ws="none",
        interface="asgi3",
        proxy_headers=False,
        log_config=None,
        access_log=False,
    )
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", formatdate(usegmt=True).encode()), (b"server", b"test")]
    connections = Connections(limits or Limits(), emit=emit)
    running = Running(0, state, connections)
    made: dict[str, Any] = {"config": config, "server_state": state, "app_state": {}}
    if http is IndexProtocol:
        running.lane = _Counting(app, running)
        made |= {"lane": running.lane, "connections": connections, "heads": Heads()}
        made["proxies"] = proxies
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(http, **made), "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        for connection in tuple(state.connections):
            connection.transport.abort()
        for task in tuple(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


class _Counting(FastLane):
    """A lane that counts what went through it."""

    def __init__(self, app: IndexApp, running: Running) -> None:
        super().__init__(app)
        self._running = running

    @override
    def finished(self, *arguments: Any, **more: Any) -> None:
        self._running.fast += 1
        super().finished(*arguments, **more)


class Answer(msgspec.Struct):
    """An answer as it came over the wire."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes:
        """The value of the only header of that name."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) == 1, (name, values)
        return values[0]


async def ask(port: int, *requests: bytes, answers: int | None = None) -> list[Answer]:
    """Send the requests at once on one connection; their answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"".join(requests))
        wanted = len(requests) if answers is None else answers
        found = []
        for request in (*requests, *requests[-1:] * wanted)[:wanted]:
            async with asyncio.timeout(10):
                found.append(await read_answer(reader, head=request.startswith(b"HEAD")))
        return found
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """The next answer; `head` if it has no body whatever its headers say."""
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    headers = []
    for line in lines:
        name, _, value = line.partition(b": ")
        headers.append((name.lower(), value))
    answer = Answer(int(status_line.split()[1]), headers, b"")
    if head or answer.status in {304, 204}:
        return answer
    length = next((value for name, value in headers if name == b"content-length"), None)
    if length is not None:
        answer.body = await reader.readexactly(int(length))
    elif (b"transfer-encoding", b"chunked") in headers:
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            answer.body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        answer.body = await reader.read()
    return answer


def get(target: str, *lines: str, method: str = "GET") -> bytes:
    """A request with a Host and these further header lines."""
    head = [f"{method} {target} HTTP/1.1", "Host: index.example", *lines]
    return "".join(f"{line}\r\n" for line in head).encode("latin-1") + b"\r\n"
