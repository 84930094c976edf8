"""Large bodies, compressed as they are written and unfolded as they are sent: never there whole.

The list of a public index takes 20 to 40 MB, and a fifth of that folded. Its zstd form is the one
that is kept; the others are made from it.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator

import msgspec
import zstandard
from isal import isal_zlib

_LEVEL = 3
#: Unfolding this much takes a fraction of a millisecond.
_PIECE_BYTES = 256 * 1024
_GZIP_LEVEL, _GZIP = 2, 16 + zlib.MAX_WBITS


class Compressed(msgspec.Struct, frozen=True):
    """A body in its zstd form, with the size and the digest of what it unfolds to."""

    body: bytes
    size: int
    digest: str


def fold(pieces: Iterable[bytes]) -> Compressed:
    """The body that the pieces are, put together: the same bytes in every process. Takes long."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    digest, size = hashlib.sha256(), 0
    parts: list[bytes] = []
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        parts.append(compressor.compress(piece))
    parts.append(compressor.flush())
    return Compressed(b"".join(parts), size, digest.hexdigest()[:32])


def unfolded(body: bytes) -> Iterator[bytes]:
    """What was folded, piece by piece."""
    with zstandard.ZstdDecompressor().stream_reader(body) as reader:
        while piece := reader.read(_PIECE_BYTES):
            yield piece


def refold(body: bytes) -> bytes:
    """The gzip form of a folded body: the same bytes in every process. Takes long."""
    compressor = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP)
    parts = [compressor.compress(piece) for piece in unfolded(body)]
    return b"".join([*parts, compressor.flush()])
