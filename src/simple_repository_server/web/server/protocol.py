"""The protocol the command runs under Uvicorn: HTTP with limits, and a fast lane through it.

A request whose answer needs no waiting is answered right here: remembered by its bytes, or parsed,
then asked for (`FastLane`), then written. Whatever is unusual goes the ordinary way of ASGI.
"""

from typing import Any

from typing_extensions import override

from simple_repository_server.web.exchange import Request
from simple_repository_server.web.reply import FilePart, Reply
from simple_repository_server.web.server.connection import HttpConnection
from simple_repository_server.web.server.connections import Phase
from simple_repository_server.web.server.fast_lane import FastLane
from simple_repository_server.web.server.heads import MAX_HEAD_BYTES
from simple_repository_server.web.server.sendfile import can_send_files

#: Larger bodies are not copied to stand behind their head.
_JOIN_BYTES = 32 * 1024


class IndexProtocol(HttpConnection):
    """One connection, on which `lane` answers what needs no waiting."""

    def __init__(self, *, lane: FastLane, **rest: Any) -> None:
        super().__init__(**rest)
        self._lane = lane
        #: When the registry of connections was last told that this one is in use.
        self._tick = -1

    @override
    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.IDLE and not self.transport.get_write_buffer_size():
            request = self._lane.seen.get(data)
            if request is not None and self._answer(request, keep_alive=True):
                if self._tick != self.watch.tick and self.phase is Phase.IDLE:
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
        """Whether nothing is in the way of an answer at once, and in turn."""
        return (
            not self.is_busy
            and len(headers) == len(self.headers)
            and b"host" in headers
            and self.received <= MAX_HEAD_BYTES
            and self.parser.get_http_version() == "1.1"
            and not self.transport.get_write_buffer_size()
            and not self.transport.is_closing()
            and not self.root_path
        )

    def _parsed(self, headers: dict[bytes, bytes]) -> bool:
        """Answer the request that was just parsed, if that can be done at once."""
        request = self._lane.request(self.parser.get_method(), self.url, headers)
        if request is None:
            return False
        keep_alive: bool = self.parser.should_keep_alive()
        if not self._answer(request, keep_alive=keep_alive):
            return False
        if keep_alive and self.received == len(self.piece):
            self._lane.remember(self.piece, request)
        return True

    def _answer(self, request: Request, *, keep_alive: bool) -> bool:
        started = self._lane.clock()
        reply = self._lane.peek(request)
        if reply is None:
            return False
        body = b"" if request.method == "HEAD" else reply.body
        part = None if request.method == "HEAD" else reply.part
        if part is not None and not can_send_files(self.transport):
            return False
        head = self.heads.of(reply, self.server_state.default_headers, keep_alive=keep_alive)
        self.ending = not keep_alive
        self.server_state.total_requests += 1
        if part is not None:
            self._send_part(request, reply, part, started, head)
            return True
        if len(body) <= _JOIN_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self._lane.finished(request, reply.status, started, self.client_host, len(body))
        return True

    def _send_part(
        self, request: Request, reply: Reply, part: FilePart, started: float, head: bytes
    ) -> None:
        def done(error: OSError | None, sent: int) -> None:
            if error is not None:
                self.cut(str(error))
            why = f"cut off: {self.cut_because}" if error else ""
            # It is the reply here that holds the file open until now.
            self._lane.finished(request, reply.status, started, self.client_host, sent, why)
            if self.phase is Phase.BUSY:
                self.go_on()

        self.send_file(part.file.fd, part.offset, part.count, done, head=head)
