"""What clients do who mean no good, and an index for them: a small page, large files, a stream."""

import asyncio
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from simple_repository_server import (
    FilesMode,
    HttpRepository,
    LocalRepository,
    PrioritySelectedProjectsRepository,
)
from simple_repository_server.observe.events import Event, RequestFinished
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.server.connections import Limits
from tests.web.lane import Running, get, on_socket

#: Both event loops that the server runs on: they buffer, pause and close in different ways.
LOOPS: list[Any] = [("asyncio", {"use_uvloop": True}), ("asyncio", {"use_uvloop": False})]

SMALL = build_wheel("local", "1.0")
#: More than all buffers of a connection on loopback hold.
BIG = build_wheel("local", "2.0", files={"data": os.urandom(9_000_000)})
REMOTE = build_wheel("remote", "1.0", files={"data": os.urandom(9_000_000)})
PAGE = "/simple/local/"
FILE = f"/resources/local/{BIG.filename}"
STREAM = f"/resources/remote/{REMOTE.filename}"
CONTENTS = {FILE: BIG.content, STREAM: REMOTE.content}


@asynccontextmanager
async def hostile_index(
    tmp_path: Path,
    upstream: Upstream,
    emit: Callable[[Event], None] = lambda _: None,
    *,
    limits: Limits | None = None,
    in_memory: bool = False,
) -> AsyncIterator[Running]:
    """A server of those; large files are sent from memory if `in_memory`, else from descriptors."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for built in (SMALL, BIG):
        (folder / built.filename).write_bytes(built.content)
    publish_json(upstream, [REMOTE], max_age=600)
    sources = [LocalRepository(folder), HttpRepository(upstream.simple)]
    async with PrioritySelectedProjectsRepository(sources) as repository:
        app = IndexApp(
            repository,
            emit=emit,
            files=FilesMode.STREAM,
            small_file_bytes=100_000_000 if in_memory else 0,
            memory_bytes=100_000_000,
        )
        async with on_socket(app, limits=limits, emit=emit) as running:
            yield running


class Client:
    """A plain socket, which reads and writes no more than it is told to."""

    def __init__(self, port: int, *, window: int = 0) -> None:
        self.socket = socket.socket()
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.setblocking(False)
        self._port = port

    async def __aenter__(self) -> "Client":
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read(self, size: int = 65536, *, within_s: float = 10) -> bytes:
        """What there is, once there is something; b"" at the end."""
        async with asyncio.timeout(within_s):
            return await asyncio.get_running_loop().sock_recv(self.socket, size)

    async def read_all(self, *, within_s: float = 20) -> bytes:
        """All that comes until the end, which must be a proper one."""
        received = bytearray()
        async with asyncio.timeout(within_s):
            while piece := await self.read(2**20):
                received += piece
        return bytes(received)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away as a program that crashes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def open_descriptors() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition: Callable[[], bool], *, within_s: float = 10) -> None:
    """Wait until it is so; `TimeoutError` if that is late."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def finished(events: list[Event], path: str) -> list[RequestFinished]:
    """The lines of the requests for a path."""
    return [e for e in events if isinstance(e, RequestFinished) and e.path == path]


async def still_answers(port: int) -> None:
    """The server answers others."""
    async with Client(port) as client:
        await client.send(get("/healthz", "Connection: close"))
        assert (await client.read_all()).startswith(b"HTTP/1.1 200 ")


class Background(msgspec.Struct):
    """A server in a thread of its own, with what it has told and what went wrong."""

    port: int
    events: list[Event]
    errors: list[str]


@contextmanager
def in_background(tmp_path: Path, *, use_uvloop: bool) -> Iterator[Background]:
    """`hostile_index` for clients that block."""
    found = Background(0, [], [])
    loop = uvloop.new_event_loop() if use_uvloop else asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: found.errors.append(str(context)))
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        with Upstream() as upstream:
            limits = Limits(linger_s=0.5, discard_s=0.5, sweep_s=0.1)
            async with hostile_index(tmp_path, upstream, found.events.append, limits=limits) as it:
                found.port = it.port
                started.set()
                await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20)
        yield found
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def exchange(port: int, *pieces: bytes, half_close: bool = True) -> bytes:
    """Send the pieces, apart from each other, and read to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        with suppress(OSError):  # it need not read all of it
            for piece in pieces:
                client.sendall(piece)
                time.sleep(0.0005 * (len(pieces) > 1))
            if half_close:
                client.shutdown(socket.SHUT_WR)
        while piece := client.recv(2**20):
            received += piece
        return received
