"""A whole answer as a value: its head, and its body or the part of a file.

Plain functions decide and return a `Reply`; an ASGI server sends it, or our own fast lane.
"""

import re

import msgspec

from simple_repository_server.web.open_files import OpenFile
from simple_repository_server.web.problems import Headers

#: What would end a header line early, or is not allowed in one (RFC 9110 §5.5).
_INVALID = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class FilePart(msgspec.Struct, frozen=True):
    """`count` bytes of an open file, from `offset` on."""

    file: OpenFile
    offset: int
    count: int


class Head(msgspec.Struct):
    """Status and headers, encoded once for however many answers."""

    status: int
    headers: Headers
    #: The reason phrase in printable ASCII; "" for that of the status.
    reason: str = ""
    _lines: bytes = b""
    #: As it was sent last (see `server/heads.py`).
    sent: bytes = b""
    #: The default headers it was sent with.
    sent_with: object = None

    @property
    def lines(self) -> bytes:
        """The encoded headers, a line each.

        Raises `ValueError` for a header with a control character in it.
        """
        if not self._lines:
            for name, value in self.headers:
                if _INVALID.search(value) or _INVALID.search(name):
                    raise ValueError(f"The header {name!r} has a control character in it.")
            self._lines = b"".join([b"%b: %b\r\n" % pair for pair in self.headers])
        return self._lines


class Reply(msgspec.Struct):
    """A whole answer. To a HEAD request it is sent without its body."""

    head: Head
    body: bytes = b""
    #: What is sent in the place of `body`.
    part: FilePart | None = None
    #: The same object answers many requests, so it is encoded once.
    lasting: bool = False
    #: Head and body as they were sent last, if they are small.
    sent: bytes = b""
    #: The default headers they were sent with.
    sent_with: object = None

    @property
    def status(self) -> int:
        """Its status."""
        return self.head.status

    @property
    def headers(self) -> Headers:
        """Its headers."""
        return self.head.headers
