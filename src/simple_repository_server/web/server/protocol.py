"""The protocol the command runs under Uvicorn: HTTP with limits, and a fast lane through it.

A request whose answer needs no waiting is answered right here: it is looked up by its bytes, or
parsed; `FastLane` returns the answer, and it is written. Any other goes the ordinary way (ASGI).
"""

import asyncio
from time import perf_counter
from typing import Any

from typing_extensions import override

from simple_repository_server.web.exchange import Request
from simple_repository_server.web.open_files import JOINED_BYTES
from simple_repository_server.web.reply import FilePart
from simple_repository_server.web.server.connection import HttpConnection
from simple_repository_server.web.server.connections import Phase
from simple_repository_server.web.server.fast_lane import FastLane
from simple_repository_server.web.server.forwarded import ABOUT_CLIENT, without_forwarded
from simple_repository_server.web.server.heads import MAX_HEAD_BYTES, is_host

#: Enum members are looked up slowly.
_IDLE = Phase.IDLE


class IndexProtocol(HttpConnection):
    """One connection, whose requests `lane` answers where that needs no waiting."""

    def __init__(self, *, lane: FastLane, **rest: Any) -> None:
        super().__init__(**rest)
        self._lane = lane
        self._client_host = ""
        self._seen = lane.seen[0]
        #: The sweep in which `watch` was last informed that this connection is in use.
        self._tick = -1

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._client_host = self.client_host
        self._seen = self._lane.seen[self.is_proxy]

    @override
    def data_received(self, data: bytes) -> None:
        if self.phase is _IDLE and not self.transport.get_write_buffer_size():
            request = self._seen.get(data)
            if request is not None and self._answer(request, keep_alive=True):
                if self._tick != self.watch.tick and self.phase is _IDLE:
                    self._tick = self.watch.tick
                    self.watch.touched(self)
                return
        super().data_received(data)

    @override
    def on_request(self) -> None:
        headers = dict(self.headers)
        if not (self._is_clear(headers) and self._parsed(headers)):
            super().on_request()

    def _is_clear(self, headers: dict[bytes, bytes]) -> bool:
        """Whether the request may be answered at once and in turn."""
        return (
            not self.is_busy
            and len(headers) == len(self.headers)
            and is_host(headers.get(b"host", b" "))
            and self.received <= MAX_HEAD_BYTES
            and self.parser.get_http_version() == "1.1"
            and not self.transport.get_write_buffer_size()
            and not self.transport.is_closing()
            and not self.root_path
        )

    def _parsed(self, headers: dict[bytes, bytes]) -> bool:
        """Answer the request that was just parsed, if its answer needs no waiting."""
        if not (self.is_proxy or ABOUT_CLIENT.isdisjoint(headers)):
            headers = dict(without_forwarded(self.headers))
        request = self._lane.request(self.parser.get_method(), self.url, headers)
        if request is None:
            return False
        keep_alive: bool = self.parser.should_keep_alive()
        if not self._answer(request, keep_alive=keep_alive):
            return False
        self.ending = not keep_alive
        self.server_state.total_requests += 1
        if keep_alive and self.received == len(self.piece):
            self._lane.remember(self.piece, request, of_proxy=self.is_proxy)
        return True

    def _answer(self, request: Request, *, keep_alive: bool) -> bool:
        """Answer if that needs no waiting; whether it did."""
        started = perf_counter()
        reply = self._lane.peek(request)
        if reply is None:
            return False
        head, body = reply.head, reply.body
        default = self.server_state.default_headers
        if reply.sent_with is default and keep_alive and not request.head:
            self.transport.write(reply.sent)
            client = self._client_of(request) if request.forwarded_for else self._client_host
            self._lane.finished(request, head.status, started, client, len(body))
            return True
        lines = self.heads.of(head, default, keep_alive=keep_alive)
        if request.head:
            body = b""
        elif reply.part is not None:
            return self._send_part(request, head.status, reply.part, started, lines)
        elif reply.lasting and keep_alive and len(body) <= JOINED_BYTES:
            reply.sent, reply.sent_with = lines + body, default
        if body:
            self.transport.writelines((lines, body))
        else:
            self.transport.write(lines)
        client = self._client_of(request) if request.forwarded_for else self._client_host
        self._lane.finished(request, head.status, started, client, len(body))
        return True

    def _client_of(self, request: Request) -> str:
        """The client, or the one a trusted proxy forwards for."""
        if request.forwarded_for:  # removed unless the peer is a trusted proxy
            return self._proxies.client_of(request.forwarded_for, self._client_host)
        return self._client_host

    def _send_part(
        self, request: Request, status: int, part: FilePart, started: float, lines: bytes
    ) -> bool:
        if not self.sends_files:
            return False

        def done(error: OSError | None, sent: int, _held: FilePart = part) -> None:
            if error is not None:
                self.cut(str(error))
            why = f"cut off: {self.cut_because}" if error else ""
            self._lane.finished(request, status, started, self._client_of(request), sent, why)
            if self.phase is Phase.BUSY:
                self.go_on()

        file = part.file
        self.send_file(
            file.fd, part.offset, part.count, done, head=lines, unchanged=file.is_unchanged
        )
        return True
