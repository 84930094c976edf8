"""A whole answer as a value: its head, and a body or the part of a file that is one.

What needs no waiting is decided by plain functions that return a `Reply`; who sends it (an ASGI
server, or the fast lane of ours) is another matter.
"""

import re

import msgspec

from simple_repository_server.web.open_files import OpenFile
from simple_repository_server.web.problems import Headers

#: What would end a header line early, or is not allowed in one (RFC 9110 §5.5).
_INVALID = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


#: Up to here bodies are remembered together with their heads, a second time.
JOINED_BYTES = 32 * 1024


class FilePart(msgspec.Struct, frozen=True):
    """`count` bytes of an open file, from `offset` on."""

    file: OpenFile
    offset: int
    count: int


class Head(msgspec.Struct):
    """Status and headers. It may serve for many answers: it is encoded once."""

    status: int
    headers: Headers
    #: The reason phrase, printable ASCII; empty: that of the status.
    reason: str = ""
    _lines: bytes = b""
    #: As it was sent last, and with which headers before its own (see `server/heads.py`).
    sent: bytes = b""
    sent_with: object = None

    @property
    def lines(self) -> bytes:
        """The headers as they go over the wire, each line with its end.

        Raises `ValueError` if one of them cannot be sent.
        """
        if not self._lines:
            for name, value in self.headers:
                if _INVALID.search(value) or _INVALID.search(name):
                    raise ValueError(f"The header {name!r} has a control character in it.")
            self._lines = b"".join([b"%b: %b\r\n" % pair for pair in self.headers])
        return self._lines


class Reply(msgspec.Struct):
    """An answer that is there as a whole. To a HEAD request it is sent without its body."""

    head: Head
    body: bytes = b""
    #: What is sent in the place of `body`.
    part: FilePart | None = None
    #: It is given again and again: what is made of it may be remembered here.
    lasting: bool = False
    #: All of it as it was sent last, if it is small, and with which headers before its own.
    sent: bytes = b""
    sent_with: object = None

    @property
    def status(self) -> int:
        """Its status."""
        return self.head.status

    @property
    def headers(self) -> Headers:
        """Its headers."""
        return self.head.headers
