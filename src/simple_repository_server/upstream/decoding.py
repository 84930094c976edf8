"""Undoing the content coding of a page, within a limit: a few bytes can unfold to gigabytes."""

import zlib

import zstandard

from simple_repository_server.errors import Malformed

#: What we ask pages to be coded with.
ACCEPT_ENCODING = "gzip, zstd"
_GZIP_OR_ZLIB = 47
_MAX_WINDOW = 2**27
#: zstd has no limit for its output; a slice of this size unfolds to 32 MB at most.
_SLICE = 1024
_GZIP_SLICE = 64 * 1024
#: How many gzip members or zstd frames a body may have: millions of empty ones cost hours.
_MAX_MEMBERS = 10_000


def decode_body(body: bytes, content_encoding: str, *, max_bytes: int) -> bytes:
    """The body as it was before coding.

    Raises `Malformed` for a coding we did not ask for, a broken body, or more than `max_bytes`.
    """
    for coding in reversed([part.strip().lower() for part in content_encoding.split(",")]):
        if coding in ("gzip", "x-gzip", "deflate"):
            body = _unzip(body, max_bytes)
        elif coding == "zstd":
            body = _unzstd(body, max_bytes)
        elif coding not in ("", "identity"):
            raise Malformed(f"it is coded as {coding[:20]!r}, which nobody asked for")
    if len(body) > max_bytes:
        raise Malformed(f"it is larger than {max_bytes} bytes")
    return body


def _unzip(body: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    room = max_bytes + 1
    position = 0
    for _ in range(_MAX_MEMBERS):
        if position == len(body) or room <= 0:
            return b"".join(parts)
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        while not member.eof and room > 0:
            part_in = body[position : position + _GZIP_SLICE]
            if not part_in:
                raise Malformed("its compressed form is cut off")
            try:
                part = member.decompress(part_in, room)
            except zlib.error as error:
                raise Malformed("its compressed form is broken") from error
            parts.append(part)
            room -= len(part)
            position += len(part_in) - len(member.unused_data)
    raise Malformed("its compressed form is in absurdly many parts")


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    room = max_bytes
    position = 0
    for _ in range(_MAX_MEMBERS):
        if position == len(body) or room < 0:
            return b"".join(parts)
        frame = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
        while not frame.eof and room >= 0:
            part_in = body[position : position + _SLICE]
            if not part_in:
                raise Malformed("its compressed form is cut off")
            try:
                part = frame.decompress(part_in)
            except zstandard.ZstdError as error:
                raise Malformed("its compressed form is broken") from error
            parts.append(part)
            room -= len(part)
            position += len(part_in) - len(frame.unused_data)
    raise Malformed("its compressed form is in absurdly many parts")
