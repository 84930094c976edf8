"""A forward proxy and a TLS front on loopback, each a real server in a thread of its own."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from typing_extensions import override

from simple_repository_server.testing.upstream import Request

_START_S = 10
_CHUNK = 64 * 1024


class Server:
    """A server that handles each connection in `_serve`; use it in `with`."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="server")

    @property
    def url(self) -> str:
        """The address of the server, without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_START_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on, and cut those there are."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_START_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        start = asyncio.start_server(self._handle, "127.0.0.1", 0, ssl=self._tls)
        server = self._loop.run_until_complete(start)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(_cancel_all())
        self._loop.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class ForwardProxy(Server):
    """A proxy for http (absolute-form) and https (CONNECT), which resolves names by `names`.

    It wants `credentials` (the value of `Proxy-Authorization`), and answers `refuse_with` to
    everything if that is set.
    """

    def __init__(
        self,
        names: Mapping[str, int],
        *,
        credentials: str | None = None,
        refuse_with: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls=tls)
        self.requests: list[Request] = []
        self.refuse_with = refuse_with
        #: Accept connections, and say nothing.
        self.silent = False
        self._names = names
        self._credentials = credentials

    @override
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request = _parse(head)
        self.requests.append(request)
        if self.silent:
            await asyncio.sleep(3600)
        status = self._status(request)
        if status is not None:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
            await writer.drain()
            return
        tunnel = request.method == "CONNECT"
        address = urlsplit(f"//{request.target}" if tunnel else request.target)
        port = self._names.get(address.hostname or "")
        if port is None:
            writer.write(b"HTTP/1.1 502 Unknown host\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        upward, downward = await asyncio.open_connection("127.0.0.1", port)
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _join(_copy(reader, downward), _copy(upward, writer))
            else:
                downward.write(_passed_on(head))
                await _join(self._pass_on(reader, downward), _copy(upward, writer))
        finally:
            downward.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Further requests on the same connection, to the same host."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(_parse(head))
            writer.write(_passed_on(head))

    def _status(self, request: Request) -> int | None:
        if self.refuse_with is not None:
            return self.refuse_with
        given = request.headers.get("proxy-authorization")
        return 407 if self._credentials is not None and given != self._credentials else None


class TlsFront(Server):
    """Takes TLS connections, and hands what comes on to a port that speaks without."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(tls=tls)
        self._behind = port

    @override
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upward, downward = await asyncio.open_connection("127.0.0.1", self._behind)
        try:
            await _join(_copy(reader, downward), _copy(upward, writer))
        finally:
            downward.transport.abort()


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines if line)
    return Request(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def _passed_on(head: bytes) -> bytes:
    """The request as the origin gets it: by its path, and without what is for the proxy."""
    first, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    method, target, version = first.split(b" ", 2)
    kept = [line for line in lines if not line.lower().startswith(b"proxy-")]
    first = b" ".join([method, urlsplit(target).path, version])
    return b"\r\n".join([first, *kept, b"", b""])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()


async def _join(*copies: Coroutine[Any, Any, None]) -> None:
    """Until one of the two directions has ended."""
    tasks = [asyncio.ensure_future(copy) for copy in copies]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    with contextlib.suppress(Exception):
        await asyncio.gather(*tasks, return_exceptions=True)
