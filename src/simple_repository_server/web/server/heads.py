"""Heads: checks and targets of requests, and the encoded heads of answers."""

import re
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote

import httptools

from simple_repository_server.web.problems import Problem
from simple_repository_server.web.reply import Head

#: The longest head of a request.
MAX_HEAD_BYTES = 64 * 1024
#: The most header lines of a request.
MAX_HEADER_LINES = 256
HEAD_TOO_LONG = Problem(431, f"The head of the request is longer than {MAX_HEAD_BYTES} bytes.")
TOO_MANY_LINES = Problem(431, f"The head of the request has more than {MAX_HEADER_LINES} lines.")
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
NO_HOST = Problem(400, "The request has no valid host (RFC 9110 §7.2).")
#: A name or an address, perhaps with a port (RFC 3986 §3.2); or nothing.
_HOST = re.compile(rb"(\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(:[0-9]*)?")
_END_OF_AUTHORITY = re.compile(rb"[/?#]")
_END, _CLOSE, _BLANK = b"\r\n", b"connection: close\r\n\r\n", b"\r\n\r\n"


@lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """Whether a Host header may have that value (RFC 9112 §3.2)."""
    return _HOST.fullmatch(value) is not None


def origin_form(target: bytes) -> tuple[bytes, bytes | None]:
    """A target without its authority, and the authority, which overrides the Host header.

    Only a target in absolute form has one (RFC 9112 §3.2.2); user and password are left out.
    """
    scheme, separator, rest = target.partition(b"://")
    if not separator or not scheme.isalpha():
        return target, None
    found = _END_OF_AUTHORITY.search(rest)
    end = found.start() if found else len(rest)
    path = rest[end:]
    return path if path.startswith(b"/") else b"/" + path, rest[:end].rpartition(b"@")[2]


def parse_target(target: bytes) -> tuple[str, bytes]:
    """The decoded path and the query, as an ASGI server gives them to its application.

    Raises `httptools.HttpParserInvalidURLError` for an invalid target.
    """
    parsed = httptools.parse_url(target)
    path = (parsed.path or b"/").decode("ascii", "replace")
    return (unquote(path) if "%" in path else path), parsed.query or b""


def reject_reason(
    headers: list[tuple[bytes, bytes]], version: str, received: int
) -> Problem | None:
    """Why a head that was parsed, of `received` bytes, is rejected; None if it is not."""
    if received > MAX_HEAD_BYTES:
        return HEAD_TOO_LONG
    if version not in {"1.0", "1.1"}:
        return Problem(505, f"This server speaks HTTP/1.1, not HTTP/{version}.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return Problem(400, "A request must have exactly one Host header (RFC 9112 §3.2).")
    if hosts and not is_host(hosts[0]):
        return NO_HOST
    for name, value in headers:
        if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            return Problem(
                400, "The only transfer coding of a request body is chunked (RFC 9112 §6.3)."
            )
    return None


def body_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """How many bytes follow a head; None if that is unknown (chunked, or with `Expect`)."""
    fields = dict(headers)
    if b"transfer-encoding" in fields or b"expect" in fields:
        return None
    return int(fields.get(b"content-length", b"0"))


def end_of_head(data: bytes, start: int, tail: bytes) -> int:
    """The end of the head that continues (or begins) at `start`; the end of `data` if it has none.

    `tail` is what was received of the head before, or its last three bytes.
    """
    seam = (tail + data[start : start + 3]).find(_BLANK) if tail else -1
    if seam >= 0:
        return start + seam + len(_BLANK) - len(tail)
    end = data.find(_BLANK, start)
    return len(data) if end < 0 else end + len(_BLANK)


def _status_line(head: Head) -> bytes:
    if head.reason:
        return f"HTTP/1.1 {head.status} {head.reason}\r\n".encode("ascii", "replace")
    return _STATUS_LINES[head.status]


class Heads:
    """Encodes the heads of answers, with what many have in common only once."""

    def __init__(self) -> None:
        self._default: list[tuple[bytes, bytes]] = []
        self._first_lines: dict[int, bytes] = {}

    def of(
        self, head: Head, default_headers: list[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> bytes:
        """The encoded head of an answer. Raises `ValueError` as `Head.lines`.

        `default_headers` (with `Date`) come first. They are compared by identity: Uvicorn makes a
        new list each second.
        """
        if head.sent_with is default_headers and keep_alive:
            return head.sent
        if default_headers is not self._default:
            self._default = default_headers
            self._first_lines.clear()
        first = None if head.reason else self._first_lines.get(head.status)
        if first is None:
            lines = [b"%b: %b\r\n" % pair for pair in default_headers]
            first = b"".join([_status_line(head), *lines])
            if not head.reason:
                self._first_lines[head.status] = first
        encoded = b"".join((first, head.lines, _END if keep_alive else _CLOSE))
        if keep_alive:
            head.sent, head.sent_with = encoded, default_headers
        return encoded
