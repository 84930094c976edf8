"""Undoing the content coding of a page, within a limit: a few bytes can unfold to gigabytes."""

import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Protocol

import zstandard

from simple_repository_server.errors import Malformed

#: What we ask pages to be coded with.
ACCEPT_ENCODING = "gzip, zstd"
_GZIP_OR_ZLIB = 47
_MAX_WINDOW = 2**27
#: There is no limit for the output of a step; a slice of this size unfolds to 32 MB at most.
_SLICE = 1024
#: How many gzip members or zstd frames a body may have: millions of empty ones cost hours.
_MAX_MEMBERS = 10_000
#: How often a body may be coded over: each time costs what unfolding the largest page does.
_MAX_CODINGS = 2


def decode_body(body: bytes, content_encoding: str, *, max_bytes: int) -> bytes:
    """The body as it was before coding.

    Raises `Malformed` for a coding we did not ask for, a broken body, or more than `max_bytes`.
    """
    named = [part.strip().lower() for part in content_encoding.split(",")]
    codings = [coding for coding in named if coding not in ("", "identity")]
    if len(codings) > _MAX_CODINGS:
        raise Malformed(f"it is coded {len(codings)} times over")
    for coding in reversed(codings):
        if coding in ("gzip", "x-gzip", "deflate"):
            body = _unfolded(body, partial(zlib.decompressobj, _GZIP_OR_ZLIB), max_bytes)
        elif coding == "zstd":
            frame = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj
            body = _unfolded(body, frame, max_bytes)
        else:
            raise Malformed(f"it is coded as {coding[:20]!r}, which nobody asked for")
    if len(body) > max_bytes:
        raise Malformed(f"it is larger than {max_bytes} bytes")
    return body


class _Decoder(Protocol):
    """A decompressor of the kind that zlib and zstandard have."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _unfolded(body: bytes, decoder_of_next: Callable[[], _Decoder], max_bytes: int) -> bytes:
    """All members (or frames) of the body, put together; a little more than `max_bytes` at most."""
    unfolded = BytesIO()  # what was written to it is taken out without a copy
    position = 0
    for _ in range(_MAX_MEMBERS):
        if position == len(body) or unfolded.tell() > max_bytes:
            return unfolded.getvalue()
        decoder = decoder_of_next()
        while not decoder.eof and unfolded.tell() <= max_bytes:
            part = body[position : position + _SLICE]
            if not part:
                raise Malformed("its compressed form is cut off")
            try:
                unfolded.write(decoder.decompress(part))
            except (zlib.error, zstandard.ZstdError) as error:
                raise Malformed("its compressed form is broken") from error
            position += len(part) - len(decoder.unused_data)
    raise Malformed("its compressed form is in absurdly many parts")
