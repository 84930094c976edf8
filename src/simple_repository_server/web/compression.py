"""Large bodies, compressed while they are written and decompressed while they are sent.

The list of a public index takes 20 to 40 MB, and a fifth of that compressed. Only its zstd form is
in memory; the other forms are made from it, and no form is ever in memory uncompressed.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator

import msgspec
import zstandard
from isal import isal_zlib

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 2
#: With the header and trailer of gzip.
_GZIP_WBITS = 16 + zlib.MAX_WBITS
#: Decompressing this much takes a fraction of a millisecond.
_CHUNK_BYTES = 256 * 1024


class Compressed(msgspec.Struct, frozen=True):
    """A body in its zstd form, with the size and the digest of the uncompressed body."""

    body: bytes
    size: int
    digest: str


def compress(chunks: Iterable[bytes]) -> Compressed:
    """The body that the chunks make up: the same bytes in every process. Slow."""
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    digest, size = hashlib.sha256(), 0
    parts: list[bytes] = []
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        parts.append(compressor.compress(chunk))
    parts.append(compressor.flush())
    return Compressed(b"".join(parts), size, digest.hexdigest())


def decompress_iter(body: bytes) -> Iterator[bytes]:
    """The uncompressed body, chunk by chunk."""
    with zstandard.ZstdDecompressor().stream_reader(body) as reader:
        while chunk := reader.read(_CHUNK_BYTES):
            yield chunk


def to_gzip(body: bytes) -> bytes:
    """The gzip form of a zstd body: the same bytes in every process. Slow."""
    compressor = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WBITS)
    parts = [compressor.compress(chunk) for chunk in decompress_iter(body)]
    return b"".join([*parts, compressor.flush()])
