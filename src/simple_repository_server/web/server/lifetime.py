"""How a connection begins, waits and ends; `Connections` enforces its deadlines.

It is never reset while the client may still read: if some of its input is unread, only our side is
closed, and input is dropped until the client closes its own side (RFC 9112 §9.6).
"""

import asyncio
from collections import deque
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from simple_repository_server.observe.events import RequestFinished
from simple_repository_server.observe.server_events import ConnectionCut
from simple_repository_server.web.problems import Problem, render_problem
from simple_repository_server.web.reply import Head
from simple_repository_server.web.server.connections import Connections, Phase
from simple_repository_server.web.server.heads import Heads, origin_form
from simple_repository_server.web.server.sendfile import reset_at_close

_BUSY = Problem(503, "There are too many connections to this server.", ((b"retry-after", b"2"),))
_SLOW = Problem(408, "The request was not received in time.")
#: Uvicorn's, and not used here: sharing one saves 600 bytes per connection.
_NO_PIPELINE: deque[Any] = deque(maxlen=0)


class Lifetime(HttpToolsProtocol):
    """One connection, independent of its requests; `heads` encodes the heads of rejections."""

    #: The request that is being answered.
    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # of the base class: never None

    def __init__(self, *, connections: Connections, heads: Heads, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.watch = connections
        self.heads = heads
        self.phase = Phase.HEAD
        self.url = b""
        self.pipeline = _NO_PIPELINE
        #: Within the head of a request; between its first byte and its last.
        self.in_head = self.in_message = False
        #: No more input is read: what was read is answered, then the connection ends.
        self.ending = False
        #: Some input was not read, or may be in flight.
        self.dropped = False
        #: The client has closed its side; we have closed ours.
        self.eof = self.ended = False
        #: Why the connection was cut off.
        self.cut_because = ""
        self.over_limit = False

    # --- its beginning, and the transport's callbacks --------------------------------------------

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # As in the base class, without its five system calls for what is known already.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        peer = transport.get_extra_info("peername")
        self.client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        self.watch.made(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.lost(self)
        super().connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self.watch.writing(self)
        self.watch.moved(self, Phase.BUSY)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self.watch.written(self)
        self.settle()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        raise NotImplementedError

    @property
    def client_host(self) -> str:
        """The address of the client; "" if unknown."""
        return self.client[0] if self.client else ""

    def settle(self, *, anew: bool = True) -> None:
        """Report the current phase to `watch`; unless `anew`, its deadline stays."""
        if not self.transport.is_closing():
            self.watch.moved(self, self._phase_now(), anew=anew)

    def _phase_now(self) -> Phase:
        if self.is_busy or self.flow.write_paused:
            return Phase.BUSY
        if self.over_limit:
            return Phase.LINGER
        if self.in_head and not self.ended:
            return Phase.HEAD
        if self.in_message:
            return Phase.DISCARD
        return Phase.LINGER if self.ended else Phase.IDLE

    # --- its end ---------------------------------------------------------------------------------

    def end(self) -> None:
        """End it once the client has received the answers and could read them."""
        self.ending = True
        if self.ended or self.transport.is_closing():
            return
        is_read = not (self.dropped or self.in_message)
        if self.eof or is_read or not self.transport.can_write_eof():
            self.close()
            return
        self.ended = True
        self.transport.set_write_buffer_limits(0)
        self.transport.write_eof()
        self.settle()

    def close(self) -> None:
        """Close once the client has received what it was sent."""
        if not self.transport.is_closing():
            # Writing counts as paused, and has a deadline, until all of it is received.
            self.transport.set_write_buffer_limits(0)
            self.transport.close()

    def refuse(self, problem: Problem) -> None:
        """Send the problem, and end the connection once the client could read it."""
        self.over_limit = False
        if self.ended or self.transport.is_closing():
            return
        headers, body = render_problem(problem, "")
        default = self.server_state.default_headers
        head = self.heads.of(Head(problem.status, headers), default, keep_alive=False)
        self.transport.write(head + body)
        self.watch.emit(
            RequestFinished(
                method="",
                path=_shown(self.url) if self.in_message else "",
                status=problem.status,
                bytes=len(body),
                duration_ms=0.0,
                client=self.client_host,
                user_agent="",
                error=problem.detail,
            )
        )
        # The rest of the request, or the next one, may be in flight.
        self.in_head = self.in_message = False
        self.dropped = True
        self.end()

    def refuse_busy(self, *, now: bool) -> None:
        """Reject the connection once its request has been received; if `now`, at once."""
        self.over_limit = True
        if now:
            self.refuse(_BUSY)
            self.close()
        else:
            self.settle()

    def evict(self) -> None:
        """End it at once, to make way for a new one."""
        if self.in_head:
            self.refuse(_BUSY)
        self.close()

    def expire(self) -> None:
        """The deadline of its phase has passed."""
        if self.over_limit:
            self.refuse(_BUSY)
        elif self.phase is Phase.HEAD and self.in_head:
            self.refuse(_SLOW)
        elif self.ended:
            self.transport.abort()
        else:
            self.close()

    def stalled(self, reason: str) -> None:
        """The client does not receive what it is sent: end it at once."""
        if not self.is_busy:  # its request was logged before
            self.watch.emit(ConnectionCut(client=self.client_host, reason=reason))
        self.cut(reason)

    def cut(self, reason: str) -> None:
        """End it at once, so that the client sees that the answer is incomplete."""
        self.cut_because = self.cut_because or reason
        if not self.transport.is_closing():
            reset_at_close(self.transport)
        self.transport.abort()

    @override
    def shutdown(self) -> None:
        """The server stops: the current request is still answered."""
        self.ending = True
        if self.cycle is not None:
            self.cycle.keep_alive = False
        if not self.is_busy:
            self.close()


def _shown(target: bytes) -> str:
    """A target as it may be logged: without query and password."""
    return origin_form(target)[0].partition(b"?")[0][:200].decode("latin-1")
