"""A scripted upstream: a real HTTP/1.1 server on loopback that behaves, or misbehaves, as scripted.

It runs in a thread, so that both blocking clients and coroutines can use it, and writes responses
byte by byte, so that it can violate the protocol.
"""

import asyncio
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from typing_extensions import override

_CHUNK = 64 * 1024
_START_S = 10


class Request(msgspec.Struct, frozen=True):
    """A received request; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A response, and how to misbehave while sending it."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    #: Sent as `ETag`; a request with it in `If-None-Match` gets 304.
    etag: str | None = None
    #: Whether requests for a single range get 206.
    ranges: bool = False
    #: The delay before the response.
    delay_s: float = 0.0
    #: The delay before each piece of the body.
    piece_delay_s: float = 0.0
    #: The size of these pieces in bytes.
    piece: int = _CHUNK
    #: The Content-Length that is stated; None: the true one; -1: none (chunked encoding).
    length: int | None = None
    #: Send only so many bytes of the body, then close the connection.
    stop_after: int | None = None
    #: Close the connection without a response.
    hang_up: bool = False
    #: The same with a TCP reset.
    reset: bool = False
    #: Send these bytes instead of a response.
    raw: bytes | None = None


Script = Reply | Sequence[Reply] | Callable[[Request], Reply]
NOT_FOUND = Reply(status=404, body=b"not here")


class Upstream:
    """The server, a context manager. Paths without a script get status 404.

    A script is a reply, a sequence of replies (the last one repeats), or a function of the request.
    `requests` are those received so far, `sent` the number of bytes sent so far.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.sent = 0
        self._scripts: dict[str, Script] = {}
        self._turns: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="upstream")
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        #: All accepted connections, which are closed at the end.
        self._accepted: list[socket.socket] = []
        self._ready = threading.Event()
        self._port = 0
        self._refusing = False

    @property
    def url(self) -> str:
        """The address of the server, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def simple(self) -> str:
        """The address of its simple index."""
        return f"{self.url}/simple/"

    def on(self, target: str, script: Script) -> None:
        """Set the script for a path (with its query)."""
        self._turns.pop(target, None)
        self._scripts[target] = script

    def forget(self) -> None:
        """Clear `requests` and `sent`; scripts remain."""
        self.requests.clear()
        self.sent = 0

    def seen(self, target: str) -> list[Request]:
        """The requests received for a path."""
        return [request for request in self.requests if request.target == target]

    def refuse(self, *, refusing: bool = True) -> None:
        """Reset every connection from now on; with `refusing=False`, respond again."""
        self._refusing = refusing

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RuntimeError("the upstream did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listener = _Listener(self._accepted)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._begin, sock=listener, backlog=1024)
        )
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        # Not `server.close()`: asyncio would leak connections accepted just before it.
        self._loop.remove_reader(listener)
        for _ in range(5):  # connections accepted just now start their tasks late
            self._loop.run_until_complete(self._end())
        server.close()
        self._loop.close()
        for connection in self._accepted:
            connection.close()

    async def _end(self) -> None:
        """Abort all connections, including those whose client does not read."""
        await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0.001)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Register the connection first: its task may be cancelled before it runs."""
        self._writers.add(writer)
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            pass  # only by `_end`: Python 3.11's streams would print a traceback
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Respond to one request; returns whether the connection remains open."""
        request = _parse(await reader.readuntil(b"\r\n\r\n"))
        self.requests.append(request)
        reply = Reply(reset=True) if self._refusing else self._reply(request)
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.reset or reply.hang_up:
            _drop(writer, reset=reply.reset)
            return False
        if reply.raw is not None:
            await self._send(writer, reply.raw)
            return False
        return await self._answer(request, reply, writer)

    def _reply(self, request: Request) -> Reply:
        script = self._scripts.get(request.target, NOT_FOUND)
        if isinstance(script, Reply):
            return script
        if callable(script):
            return script(request)
        turn = self._turns[request.target]
        self._turns[request.target] += 1
        return script[min(turn, len(script) - 1)]

    async def _answer(self, request: Request, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        status, headers, body = _shaped(request, reply)
        chunked = reply.length == -1
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(len(body) if reply.length is None else reply.length)
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{k}: {v}" for k, v in headers.items())]
        await self._send(writer, "\r\n".join([*lines, "", ""]).encode("latin-1"))
        if request.method == "HEAD" or status == 304:  # noqa: PLR2004 - clearer than a name
            return True
        whole = body if reply.stop_after is None else body[: reply.stop_after]
        for start in range(0, len(whole), reply.piece):
            if reply.piece_delay_s:
                await asyncio.sleep(reply.piece_delay_s)
            piece = whole[start : start + reply.piece]
            await self._send(writer, b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked and reply.stop_after is None:
            await self._send(writer, b"0\r\n\r\n")
        return reply.stop_after is None and reply.length in (None, -1)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent += len(data)


class _Listener(socket.socket):
    """A listening socket that appends accepted connections to `accepted`."""

    def __init__(self, accepted: list[socket.socket]) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._accepted = accepted
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.bind(("127.0.0.1", 0))

    @override
    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        self._accepted.append(connection)
        return connection, address


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines if line)
    return Request(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def _shaped(request: Request, reply: Reply) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body, after conditions and ranges."""
    headers, body = dict(reply.headers), reply.body
    if reply.etag is not None:
        headers["ETag"] = reply.etag
        if reply.etag == request.headers.get("if-none-match"):
            return 304, headers, b""
    if reply.ranges:
        headers["Accept-Ranges"] = "bytes"
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if found and any(found.groups()):
            size = len(body)
            start = int(found[1]) if found[1] else max(0, size - int(found[2]))
            stop = min(int(found[2]) + 1, size) if found[1] and found[2] else size
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            return 206, headers, body[start:stop]
    return reply.status, headers, body


def _drop(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    connection = writer.get_extra_info("socket")
    if reset and connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
