"""Heads: of requests, what is wrong with them and where they lead; of answers, their bytes."""

from http import HTTPStatus
from urllib.parse import unquote

import httptools

from simple_repository_server.web.problems import Problem
from simple_repository_server.web.reply import Head

#: How long the head of a request may be.
MAX_HEAD_BYTES = 64 * 1024
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_END, _CLOSE = b"\r\n", b"connection: close\r\n\r\n"


def parse_target(target: bytes) -> tuple[str, bytes]:
    """The decoded path and the query, as an ASGI server gives them to its application.

    Raises `httptools.HttpParserInvalidURLError` for what is no target.
    """
    parsed = httptools.parse_url(target)
    if parsed.path is None:
        raise httptools.HttpParserInvalidURLError("there is no path in its target")
    path = parsed.path.decode("ascii", "replace")
    return (unquote(path) if "%" in path else path), parsed.query or b""


def wrong_with(headers: list[tuple[bytes, bytes]], version: str, received: int) -> Problem | None:
    """What is wrong with the head of a request that could be parsed, out of `received` bytes."""
    if received > MAX_HEAD_BYTES and _size(headers) > MAX_HEAD_BYTES:
        detail = f"The head of the request is longer than {MAX_HEAD_BYTES} bytes."
        return Problem(431, detail)
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return Problem(400, "A request has one Host header (RFC 9112 §3.2).")
    return None


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + len(b": \r\n") for name, value in headers)


class Heads:
    """The heads of answers, of which what is the same for many is encoded once."""

    def __init__(self) -> None:
        self._default: list[tuple[bytes, bytes]] = []
        self._first_lines: dict[int, bytes] = {}

    def of(
        self, head: Head, default_headers: list[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> bytes:
        """The head of an answer as it goes over the wire; raises `ValueError` as `Head.lines`.

        `default_headers` (`Date` among them) come first. They are known by their identity: Uvicorn
        makes a new list each second.
        """
        if head.sent_with is default_headers and keep_alive:
            return head.sent
        if default_headers is not self._default:
            self._default = default_headers
            self._first_lines.clear()
        first = self._first_lines.get(head.status)
        if first is None:
            lines = [b"%b: %b\r\n" % pair for pair in default_headers]
            first = b"".join([_STATUS_LINES[head.status], *lines])
            self._first_lines[head.status] = first
        encoded = b"".join((first, head.lines, _END if keep_alive else _CLOSE))
        if keep_alive:
            head.sent, head.sent_with = encoded, default_headers
        return encoded
