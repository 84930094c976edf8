"""Decode the content coding of a page, within a limit: a few bytes can expand to gigabytes."""

import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Protocol

import zstandard

from simple_repository_server.errors import Malformed

#: The codings we accept for pages.
ACCEPT_ENCODING = "gzip, zstd"
_GZIP_OR_ZLIB = 47
_MAX_WINDOW = 2**27
#: Decompressors do not limit the output of a step; a slice of this size expands to at most 32 MB.
_SLICE = 1024
#: How many gzip members or zstd frames a body may have: millions of empty ones would take hours.
_MAX_MEMBERS = 10_000
#: How many codings may be applied to a body: each may cost as much as the largest page.
_MAX_CODINGS = 2


def decode_body(body: bytes, content_encoding: str, *, max_bytes: int) -> bytes:
    """The body without its content coding.

    Raises `Malformed` for a coding we do not accept, a corrupt body, or more than `max_bytes`.
    """
    named = [part.strip().lower() for part in content_encoding.split(",")]
    codings = [coding for coding in named if coding not in ("", "identity")]
    if len(codings) > _MAX_CODINGS:
        raise Malformed(f"it has {len(codings)} content codings")
    for coding in reversed(codings):
        if coding in ("gzip", "x-gzip", "deflate"):
            body = _decompress(body, partial(zlib.decompressobj, _GZIP_OR_ZLIB), max_bytes)
        elif coding == "zstd":
            frame = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj
            body = _decompress(body, frame, max_bytes)
        else:
            raise Malformed(f"it has the content coding {coding[:20]!r}, which was not accepted")
    if len(body) > max_bytes:
        raise Malformed(f"it is larger than {max_bytes} bytes")
    return body


class _Decoder(Protocol):
    """A decompressor, as of zlib and zstandard."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _decompress(body: bytes, new_decoder: Callable[[], _Decoder], max_bytes: int) -> bytes:
    """All members (or frames) of the body, joined; at most a little more than `max_bytes`."""
    output = BytesIO()  # `getvalue` makes no copy
    position = 0
    for _ in range(_MAX_MEMBERS):
        if position == len(body) or output.tell() > max_bytes:
            return output.getvalue()
        decoder = new_decoder()
        while not decoder.eof and output.tell() <= max_bytes:
            part = body[position : position + _SLICE]
            if not part:
                raise Malformed("its compressed form is truncated")
            try:
                output.write(decoder.decompress(part))
            except (zlib.error, zstandard.ZstdError) as error:
                raise Malformed("its compressed form is corrupt") from error
            position += len(part) - len(decoder.unused_data)
    raise Malformed(f"its compressed form has more than {_MAX_MEMBERS} members")
