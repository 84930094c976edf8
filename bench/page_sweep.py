"""A client that fetches many pages once each, on kept connections, and keeps the bodies."""

import select
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from urllib.parse import urlsplit

import msgspec

from bench.servers import JSON_TYPE

_WAIT_S = 120
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Sweep(msgspec.Struct, frozen=True):
    """Pages that were fetched: how long all of them took, and their bodies by target."""

    total_ms: float
    bodies: dict[str, bytes]


def sweep(url: str, targets: Sequence[str], connections: int) -> Sweep:
    """Fetch the targets (paths at `url`) as JSON, in their order, one at a time per connection.

    Raises `RuntimeError` for any status but 200, and `OSError` if a connection breaks.
    """
    netloc = urlsplit(url).netloc
    host, _, port = netloc.partition(":")
    pending = list(reversed(targets))
    bodies: dict[str, bytes] = {}
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        opened: dict[int, _Connection] = {}
        begun = time.perf_counter()
        for _ in range(min(connections, len(targets))):
            one = stack.enter_context(socket.create_connection((host, int(port)), _WAIT_S))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened[one.fileno()] = _Connection(one, netloc)
            poll.register(one, select.EPOLLIN)
            opened[one.fileno()].request(pending.pop())
        while len(bodies) < len(targets):
            ready = poll.poll(_WAIT_S)
            if not ready:
                raise RuntimeError(f"{url}: no answer within {_WAIT_S} s")
            for number, _event in ready:
                connection = opened[number]
                body = connection.receive()
                if body is not None:
                    bodies[connection.target] = body
                    if pending:
                        connection.request(pending.pop())
        total_ms = (time.perf_counter() - begun) * 1000
    return Sweep(total_ms, bodies)


class _Connection:
    """One connection, with at most one request in flight."""

    def __init__(self, connection: socket.socket, netloc: str) -> None:
        self._connection = connection
        self._lines = f"HTTP/1.1\r\nHost: {netloc}\r\nAccept: {JSON_TYPE}\r\n\r\n"
        self._received = b""
        self.target = ""

    def request(self, target: str) -> None:
        self.target = target
        self._received = b""
        self._connection.sendall(f"GET {target} {self._lines}".encode())

    def receive(self) -> bytes | None:
        """The body once all of it has come."""
        part = self._connection.recv(1024 * 1024)
        self._received += part
        head, end, body = self._received.partition(_HEAD_END)
        if not part or (end and not head.startswith(b"HTTP/1.1 200 ")):
            raise RuntimeError(f"{self.target}: {self._received[:200]!r}")
        if not end:
            return None
        length = int(head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0])
        return body if len(body) >= length else None
