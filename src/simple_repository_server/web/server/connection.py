"""HTTP/1.1 on Uvicorn's protocol class, with our own limits, and answers always in order.

Input is parsed up to the end of one head at a time, and no further before that request is answered:
the rest waits unparsed. Request bodies are not used, and dropped.

A connection is in one of the phases that `connections.py` lists. `tests/web/test_uvicorn.py` lists
what is used of Uvicorn's internals, and fails for a version that has changed it.
"""

import asyncio
import socket
import traceback
from collections.abc import Callable
from typing import Any

import httptools
from typing_extensions import override
from uvicorn.protocols.utils import get_local_addr

from simple_repository_server.observe.events import InternalFailure
from simple_repository_server.web.exchange import WATCHED
from simple_repository_server.web.problems import Problem
from simple_repository_server.web.server.connections import Phase
from simple_repository_server.web.server.cycle import Cycle
from simple_repository_server.web.server.forwarded import NOBODY, TrustedProxies, without_forwarded
from simple_repository_server.web.server.heads import (
    HEAD_TOO_LONG,
    MAX_HEAD_BYTES,
    MAX_HEADER_LINES,
    NO_HOST,
    TOO_MANY_LINES,
    body_length,
    end_of_head,
    is_host,
    origin_form,
    parse_target,
    reject_reason,
)
from simple_repository_server.web.server.lifetime import Lifetime
from simple_repository_server.web.server.sendfile import (
    Done,
    FileSender,
    can_send_files,
    carrier_of,
)

#: The longest request body that is discarded to keep the connection for the next request.
_DISCARD_BYTES = 64 * 1024 * 1024


class HttpConnection(Lifetime):
    """One connection, on which requests are answered by the application."""

    def __init__(self, *, proxies: TrustedProxies = NOBODY, **rest: Any) -> None:
        super().__init__(**rest)
        self.headers = []
        self._proxies = proxies
        #: The peer is a trusted proxy.
        self.is_proxy = False
        #: What is being parsed.
        self.piece = b""
        #: The bytes received since the last request ended.
        self.received = 0
        #: What was received and is not parsed yet, from `_at` on.
        self._unread = b""
        self._at = 0
        #: The last three bytes of an incomplete head.
        self._tail = b""
        self._body_left = 0
        self._is_reading = False
        self._refusal: Problem | None = None
        self._sender: FileSender | None = None
        self._carrier: socket.socket | None = None
        self._sends_files: bool | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.is_proxy = self._proxies.trusts(self.client_host)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._unread = b""
        super().connection_lost(exc)
        if self._sender is not None:
            self._sender.cancel()
        if self._carrier is not None:
            self._carrier.detach()

    @property
    @override
    def is_busy(self) -> bool:
        return self.cycle is not None or self._sender is not None

    @property
    def sends_files(self) -> bool:
        """Whether files can be sent past the transport."""
        if self._sends_files is None:
            self._sends_files = can_send_files(self.transport)
        return self._sends_files

    # --- input -----------------------------------------------------------------------------------

    @override
    def data_received(self, data: bytes) -> None:
        if self.over_limit:
            self.expire()
        if self.ending:
            self.dropped = True
            return
        self._unread = self._unread[self._at :] + data if self._unread else data
        self._at = 0
        self._read()

    @override
    def eof_received(self) -> bool:  # type: ignore[override]
        """The client has closed its side; it still gets the answers to its requests."""
        self.eof = True
        if not self.is_busy:
            self.close()
        return self.scheme == "http"  # TLS has no half-closed connections

    def _read(self) -> None:
        """Parse the input up to the request that has to wait for the current one."""
        answered = self.server_state.total_requests
        self._is_reading = True
        while self._unread and not self.ending and (self.in_message or not self.is_busy):
            self._feed(self._next_piece())
        self._is_reading = False
        if self.ending:
            self.dropped = self.dropped or bool(self._unread)
            self._unread = b""
            self._end_in_turn()
        elif self._unread:
            self.flow.pause_reading()
        elif self.eof and not self.is_busy:
            self.close()
        else:
            self.flow.resume_reading()
            self.settle(anew=answered != self.server_state.total_requests)

    def _next_piece(self) -> bytes:
        data, start = self._unread, self._at
        if self._body_left:
            end = min(start + self._body_left, len(data))
        else:
            end = end_of_head(data, start, self._tail if self.in_head else b"")
        if end == len(data):
            self._unread, self._at = b"", 0
            return data[start:] if start else data
        self._at = end
        return data[start:end]

    def _feed(self, piece: bytes) -> None:
        self.piece = piece
        self.received += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self.ending = True  # what follows is another protocol
        except httptools.HttpParserError as error:
            if not self.ending:
                self._malformed(error)
        self.piece = b""
        self._tail = (self._tail + piece)[-3:] if self.in_head else b""
        if self.in_head and self.received > MAX_HEAD_BYTES and not self.ending:
            self._refuse_in_turn(HEAD_TOO_LONG)

    @override
    def on_message_begin(self) -> None:
        self.in_head = self.in_message = True

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers are dropped, and the number of fields is limited.
        if self.in_head and len(self.headers) <= MAX_HEADER_LINES:
            self.headers.append((name.lower(), value.rstrip(b" \t")))

    @override
    def on_headers_complete(self) -> None:
        self.in_head = False
        if len(self.headers) > MAX_HEADER_LINES:
            self._refuse_in_turn(TOO_MANY_LINES)
        elif not self.ending:
            self.on_request()

    def on_request(self) -> None:
        """The head of a request is complete: have the ASGI application answer it."""
        version = self.parser.get_http_version()
        problem = reject_reason(self.headers, version, self.received) or self._take_authority()
        if problem is not None:
            self._refuse_in_turn(problem)
            return
        try:
            target = parse_target(self.url)
        except httptools.HttpParserInvalidURLError as error:
            self._refuse_in_turn(_bad_request(error))
            return
        length = body_length(self.headers)
        keep_alive = (
            version == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and length is not None
            and length <= _DISCARD_BYTES
        )
        self._body_left = length or 0
        self.ending = not keep_alive
        # A client that wants the connection to persist may have sent more requests.
        self.dropped = self.ending and self.parser.should_keep_alive()
        self.cycle = self._cycle(version, target, keep_alive=keep_alive)
        self.watch.moved(self, Phase.BUSY)
        self._start_asgi_task(self.cycle, self.app)

    def _take_authority(self) -> Problem | None:
        """Replace the Host header by the authority of an absolute target (RFC 9112 §3.2.2)."""
        self.url, authority = origin_form(self.url)
        if authority is None:
            return None
        others = (pair for pair in self.headers if pair[0] != b"host")
        self.headers = [(b"host", authority), *others]
        return None if authority and is_host(authority) else NO_HOST

    @override
    def on_body(self, body: bytes) -> None:
        self._body_left -= len(body)

    @override
    def on_message_complete(self) -> None:
        self.in_message = False
        self.received = self._body_left = 0
        self.url, self.headers = b"", []

    # --- answers, in turn ------------------------------------------------------------------------

    def _cycle(self, version: str, target: tuple[str, bytes], *, keep_alive: bool) -> Cycle:
        path, query = target
        headers, client = self._trusted_origin()
        extensions: dict[str, dict[str, str]] = {WATCHED: {}}
        if self.sends_files:
            extensions["http.response.zerocopysend"] = {}
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "scheme": self.scheme,
            "server": get_local_addr(self.transport),
            "client": client,
            "root_path": self.root_path,
            "path": self.root_path + path,
            "raw_path": self.root_path.encode("ascii") + self.url.partition(b"?")[0],
            "query_string": query,
            "headers": headers,
            "state": self.app_state.copy(),
            "extensions": extensions,
        }
        return Cycle(
            self,
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def _trusted_origin(self) -> tuple[list[tuple[bytes, bytes]], tuple[str, int] | None]:
        """The headers that are trusted, and the client, which a trusted proxy may name."""
        if not self.is_proxy:
            return without_forwarded(self.headers), self.client
        named = self._proxies.client_in(self.headers, self.client_host)
        return self.headers, self.client if named is None else (named, 0)

    @override
    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self.cycle = None
        self.go_on()

    def send_file(
        self,
        descriptor: int,
        offset: int,
        count: int,
        done: Done,
        *,
        head: bytes = b"",
        unchanged: Callable[[], bool] | None = None,
    ) -> FileSender:
        """Send `head` and a part of an open file; `done` is called at the end."""

        def finished(error: OSError | None, sent: int) -> None:
            if self._sender is not None:
                self._sender = None
                self.watch.written(self)
            done(error, sent)

        if self._carrier is None:
            self._carrier = carrier_of(self.transport)
        sender = FileSender(self._carrier, descriptor, offset, count, finished, unchanged=unchanged)
        assert self.watch.writable is not None
        if not sender.start(self.watch.writable, head):
            self._sender = sender
            self.watch.moved(self, Phase.BUSY)
            self.watch.writing(self)
        return sender

    def go_on(self) -> None:
        """Continue with the requests that wait for the answer that was just sent."""
        if not (self._is_reading or self.transport.is_closing()):
            self._read()

    # --- bad requests, and the end ---------------------------------------------------------------

    def _malformed(self, error: httptools.HttpParserError) -> None:
        cause: BaseException = error
        if isinstance(error, httptools.HttpParserCallbackError):  # one of our callbacks raised
            cause = error.__context__ or error
            if not isinstance(cause, httptools.HttpParserError):
                detail = "".join(traceback.format_exception(cause))
                self.watch.emit(
                    InternalFailure(what=f"unexpected {type(cause).__name__}", detail=detail)
                )
                cause = error
        self._refuse_in_turn(_bad_request(cause))

    def _refuse_in_turn(self, problem: Problem) -> None:
        """Reject the last request, after the answers to the ones before it."""
        self.ending = True
        self._refusal = problem

    def _end_in_turn(self) -> None:
        """End the connection, unless an answer is still being sent."""
        if self.is_busy:
            return
        if self._refusal is not None:
            self.refuse(self._refusal)
        else:
            self.end()


def _bad_request(reason: BaseException) -> Problem:
    return Problem(400, f"This is not a valid HTTP/1.1 request ({reason}).")
