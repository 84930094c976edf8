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
    while body and room > 0:
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            part = member.decompress(body, room)
        except zlib.error as error:
            raise Malformed("its compressed form is broken") from error
        parts.append(part)
        room -= len(part)
        if not member.eof and room > 0:
            raise Malformed("its compressed form is cut off")
        body = member.unused_data
    return b"".join(parts)


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    room = max_bytes
    while body and room >= 0:
        frame = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
        for start in range(0, len(body), _SLICE):
            try:
                part = frame.decompress(body[start : start + _SLICE])
            except zstandard.ZstdError as error:
                raise Malformed("its compressed form is broken") from error
            parts.append(part)
            room -= len(part)
            if frame.eof or room < 0:
                break
        if not frame.eof and room >= 0:
            raise Malformed("its compressed form is cut off")
        body = frame.unused_data + body[start + _SLICE :] if frame.eof else b""
    return b"".join(parts)
