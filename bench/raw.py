"""Clients for what wrk cannot do: HEAD, whose answers have a length and no body; large POSTs."""

import select
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

from bench.load import Load

_WAIT_S = 30
_END = b"\r\n\r\n"


def head_load(
    url: str, *, seconds: int, connections: int = 16, headers: Mapping[str, str] | None = None
) -> Load:
    """Load of HEAD requests on kept connections, from one thread that only looks for the end.

    Raises `RuntimeError` for any answer but 200, and `OSError` if a connection breaks.
    """
    parts = urlsplit(url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    request = f"HEAD {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{lines}\r\n".encode()
    took: list[float] = []
    received = 0
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        opened: dict[int, socket.socket] = {}
        sent: dict[int, float] = {}
        for _ in range(connections):
            one = stack.enter_context(_connected(parts.netloc))
            opened[one.fileno()] = one
            poll.register(one, select.EPOLLIN)
            sent[one.fileno()] = time.perf_counter()
            one.sendall(request)
        begun = now = time.perf_counter()
        while now < begun + seconds:
            ready = poll.poll(_WAIT_S)
            if not ready:
                raise RuntimeError(f"{url}: no answer within {_WAIT_S} s")
            for number, _event in ready:
                one = opened[number]
                answer = one.recv(65536)
                if not answer.endswith(_END) or not answer.startswith(b"HTTP/1.1 200 "):
                    raise RuntimeError(f"{url}: {answer[:200]!r}")
                received += len(answer)
                now = time.perf_counter()
                took.append(now - sent[number])
                sent[number] = now
                one.send(request)
        duration = now - begun
    took.sort()
    count = len(took)
    return Load(
        count / duration, took[count // 2] * 1000, took[count * 99 // 100] * 1000,
        received / 1e6 / duration, count,
    )  # fmt: skip


def _connected(netloc: str) -> socket.socket:
    host, _, port = netloc.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=_WAIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def post(url: str, body: bytes, *, status: int) -> float:
    """The milliseconds until the answer to a POST; it may come before the body is sent.

    Raises `RuntimeError` for another status than the one expected, or none.
    """
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n"
    left = memoryview(f"{head}Connection: close\r\n\r\n".encode() + body)
    answer = b""
    with _connected(parts.netloc) as connection:
        begun = time.perf_counter()
        while not answer:
            readable, writable, _ = select.select(
                [connection], [connection] if left else [], [], _WAIT_S
            )
            if readable:
                answer = connection.recv(65536)
                break
            if not writable:
                break
            with suppress(ConnectionError):  # refused unread: what was answered can still be read
                left = left[connection.send(left[:65536]) :]
        took_ms = (time.perf_counter() - begun) * 1000
    if not answer.startswith(f"HTTP/1.1 {status} ".encode()):
        raise RuntimeError(f"POST {url}: {answer[:200]!r} instead of status {status}")
    return took_ms
