"""HTTP/1.1 as Uvicorn speaks it, with limits of our own, and answers in turn whatever happens.

A connection is in one of the phases that `connections.py` lists. Of Uvicorn's internals this uses
what `tests/web/test_uvicorn.py` names, which holds a newer Uvicorn against it.
"""

import asyncio
import socket
import traceback
from typing import Any

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from simple_repository_server.observe.events import RequestFinished, Trouble
from simple_repository_server.web.exchange import WATCHED
from simple_repository_server.web.problems import Problem, render_problem
from simple_repository_server.web.reply import Head
from simple_repository_server.web.server.connections import Connections, Phase
from simple_repository_server.web.server.cycle import Cycle
from simple_repository_server.web.server.heads import (
    MAX_HEAD_BYTES,
    Heads,
    parse_target,
    wrong_with,
)
from simple_repository_server.web.server.sendfile import (
    Done,
    FileSender,
    can_send_files,
    carrier_of,
)

#: How many requests may wait behind the one that is being answered.
_MAX_PIPELINED = 64
#: How much of a body that nobody wants is read for the sake of the next request.
_DISCARD_BYTES = 64 * 1024 * 1024
_BUSY = Problem(503, "There are too many connections to this server.", ((b"retry-after", b"2"),))
_SLOW = Problem(408, "The request did not come in time.")


class HttpConnection(HttpToolsProtocol):
    """One connection, which `connections` watches over; `heads` makes the heads of its answers."""

    def __init__(self, *, connections: Connections, heads: Heads, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.watch = connections
        self.heads = heads
        self.phase = Phase.HEAD
        #: Within the head of a request; between its first byte and its last.
        self.in_head = self.in_message = False
        #: How much has come since the last request ended.
        self.received = 0
        #: The request at hand has been answered without an ASGI cycle.
        self.answered = False
        #: Nothing that comes is read any more: what was read is answered, and that is the end.
        self.ending = False
        #: Why the connection was cut off.
        self.cut_because = ""
        self._discarded = 0
        self._refusal: Problem | None = None
        self._over_limit = False
        self._running: RequestResponseCycle | None = None
        self._sender: FileSender | None = None
        self._carrier: socket.socket | None = None

    # --- the connection --------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.watch.made(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.lost(self)
        if self._carrier is not None:
            self._carrier.detach()
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)
        if self._sender is not None:
            self._sender.cancel()

    @override
    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, but still gets the answers to what it has sent."""
        self.ending = True
        return self.is_busy and not self.in_message

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self.watch.writing(self)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self.watch.written(self)

    @override
    def shutdown(self) -> None:
        """The server stops: what is being answered still is."""
        self.ending = True
        if self._running is not None:
            self._running.keep_alive = False
        if not self.is_busy:
            self._close()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self._running is not None or self._sender is not None

    @property
    def client_host(self) -> str:
        """Where the client is, as far as that can be said."""
        return self.client[0] if self.client else ""

    # --- what comes in ---------------------------------------------------------------------------

    @override
    def data_received(self, data: bytes) -> None:
        if self._over_limit:
            self._refuse(_BUSY)
        if self.ending:
            return
        self.received += len(data)
        answered = self.server_state.total_requests
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.ending = True  # what follows is not HTTP, or not for us
        except httptools.HttpParserError as error:
            self._malformed(error)
        if self.in_head and self.received > MAX_HEAD_BYTES and not self.ending:
            detail = f"The head of the request is longer than {MAX_HEAD_BYTES} bytes."
            self._refuse_in_turn(Problem(431, detail))
        if self.ending:
            self._end_if_answered()
        else:
            anew = answered != self.server_state.total_requests
            self.watch.moved(self, self._phase_now(), anew=anew)

    def _phase_now(self) -> Phase:
        if self.is_busy:
            return Phase.BUSY
        if self.in_head:
            return Phase.HEAD
        return Phase.DISCARD if self.in_message else Phase.IDLE

    @override
    def on_message_begin(self) -> None:
        self.in_head = self.in_message = True
        self.answered = False
        self._discarded = 0
        self.url = b""
        self.headers = []

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    @override
    def on_headers_complete(self) -> None:
        self.in_head = False
        if not self.ending:
            self.on_request()

    def on_request(self) -> None:
        """The head of a request is there: answer it as an ASGI application does."""
        version = self.parser.get_http_version()
        problem = wrong_with(self.headers, version, self.received)
        if problem is not None:
            self._refuse_in_turn(problem)
            return
        cycle = self._cycle(version)
        self.cycle = cycle  # whose body comes next
        if not self.is_busy:
            self._start(cycle)
            return
        self.flow.pause_reading()
        self.pipeline.appendleft((cycle, self.app))
        self.ending = len(self.pipeline) >= _MAX_PIPELINED

    @override
    def on_body(self, body: bytes) -> None:
        if self.ending or self.answered:
            return
        if not self.cycle.response_complete:
            super().on_body(body)
            return
        self._discarded += len(body)
        self.ending = self._discarded > _DISCARD_BYTES

    @override
    def on_message_complete(self) -> None:
        self.in_message = False
        self.received = 0
        if not self.answered and self.cycle is not None:
            super().on_message_complete()

    # --- answers, in turn ------------------------------------------------------------------------

    def _cycle(self, version: str) -> Cycle:
        path, query = parse_target(self.url)
        expects = any(name == b"expect" for name, _ in self.headers)
        extensions: dict[str, dict[str, str]] = {WATCHED: {}}
        if can_send_files(self.transport):
            extensions["http.response.zerocopysend"] = {}
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + path,
            "raw_path": self.root_path.encode("ascii") + self.url.partition(b"?")[0],
            "query_string": query,
            "headers": self.headers,
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
            expect_100_continue=expects,
            # A body that is offered and not asked for may come or not: what follows is unclear.
            keep_alive=version == "1.1" and self.parser.should_keep_alive() and not expects,
            on_response=self.on_response_complete,
        )

    def _start(self, cycle: RequestResponseCycle) -> None:
        self._running = cycle
        self.watch.moved(self, Phase.BUSY)
        self._start_asgi_task(cycle, self.app)

    @override
    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._running = None
        self.go_on()

    def send_file(
        self, descriptor: int, offset: int, count: int, done: Done, *, head: bytes = b""
    ) -> FileSender:
        """Send a part of an open file behind `head`; `done` is told of the end of it."""

        def finished(error: OSError | None, sent: int) -> None:
            if self._sender is not None:
                self._sender = None
                self.watch.written(self)
            done(error, sent)

        if self._carrier is None:
            self._carrier = carrier_of(self.transport)
        sender = FileSender(self._carrier, descriptor, offset, count, finished)
        if not sender.start(head):
            self._sender = sender
            self.watch.moved(self, Phase.BUSY)
            self.watch.writing(self)
        return sender

    def go_on(self) -> None:
        """Go on with what waits behind the answer that was just sent."""
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start(self.pipeline.pop()[0])
        elif self.ending:
            self._end_if_answered()
        else:
            self.flow.resume_reading()
            self.watch.moved(self, self._phase_now())

    # --- the end of it ---------------------------------------------------------------------------

    def _end_if_answered(self) -> None:
        if self.is_busy or self.phase is Phase.LINGER:
            return
        if self._refusal is not None:
            self._refuse(self._refusal)
        else:
            self._close()

    def _close(self) -> None:
        """Close when the client has taken what it was sent."""
        if self.transport.get_write_buffer_size():
            self.watch.writing(self)
        self.transport.close()

    def _malformed(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        if cause is not None and not isinstance(cause, httptools.HttpParserError):
            detail = "".join(traceback.format_exception(cause))
            self.watch.emit(Trouble(what=f"unexpected {type(cause).__name__}", detail=detail))
            cause = None
        self._refuse_in_turn(Problem(400, f"This is no request of HTTP/1.1 ({cause or error})."))

    def _refuse_in_turn(self, problem: Problem) -> None:
        """Refuse what came last, behind the answers to what came before it."""
        self.ending = True
        self._refusal = problem

    def _refuse(self, problem: Problem) -> None:
        """Say what is wrong, and end the connection once the client can have read it."""
        self.ending, self._over_limit, self._refusal = True, False, None
        headers, body = render_problem(problem, "")
        default = self.server_state.default_headers
        head = self.heads.of(Head(problem.status, headers), default, keep_alive=False)
        self.transport.write(head + body)
        self.watch.emit(
            RequestFinished(
                method="",
                path=self.url[:200].decode("latin-1") if self.in_message else "",
                status=problem.status,
                bytes=len(body),
                duration_ms=0.0,
                client=self.client_host,
                user_agent="",
                error=problem.detail,
            )
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.watch.moved(self, Phase.LINGER)
        else:
            self._close()

    def refuse_busy(self, *, now: bool) -> None:
        """Refuse the connection, if not `now` then when its request has come."""
        self._over_limit = True
        if now:
            self._refuse(_BUSY)
        else:
            self.watch.moved(self, Phase.LINGER)

    def expire(self) -> None:
        """The time for what it was doing is over."""
        if self._over_limit:
            self._refuse(_BUSY)
        elif self.phase is Phase.HEAD and self.in_head:
            self._refuse(_SLOW)
        elif self.phase is Phase.LINGER or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def cut(self, reason: str) -> None:
        """End it at once; what was sent so far is not all, which the client can see."""
        self.cut_because = self.cut_because or reason
        self.transport.abort()
