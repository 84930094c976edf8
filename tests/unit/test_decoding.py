"""Content codings of pages: undone within a limit, or refused."""

import gzip
import time
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.errors import Malformed
from simple_repository_server.upstream.decoding import decode_body

_CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
    "": bytes,
    "gzip, zstd": lambda body: zstandard.compress(gzip.compress(body)),
}


@given(st.binary(max_size=5000), st.sampled_from(sorted(_CODERS)))
def test_decoding_reverses_encoding(body: bytes, coding: str) -> None:
    """A body in any coding we accept is decoded to the original."""
    assert decode_body(_CODERS[coding](body), coding, max_bytes=10_000) == body


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_all_members_are_decoded(coding: str) -> None:
    """A body of several compressed members is decoded to all of them."""
    coder = _CODERS[coding]
    assert decode_body(coder(b"one ") + coder(b"two"), coding, max_bytes=100) == b"one two"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_decompression_bombs_are_rejected(coding: str) -> None:
    """A few bytes that expand beyond the limit are rejected without expanding them all."""
    bomb = _CODERS[coding](b"\0" * 200_000_000)
    assert len(bomb) < 300_000
    with pytest.raises(Malformed, match="larger than"):
        decode_body(bomb, coding, max_bytes=1_000_000)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_too_many_members_are_rejected(coding: str) -> None:
    """Empty members are counted, as they never reach a limit in bytes."""
    body = _CODERS[coding](b"") * 100_000
    started = time.process_time()
    with pytest.raises(Malformed, match="members"):
        decode_body(body, coding, max_bytes=10**6)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-20], lambda b: b"xx" + b])
def test_corrupt_bodies_are_rejected(coding: str, damage: Callable[[bytes], bytes]) -> None:
    """A truncated or changed body is rejected, never taken for a shorter page."""
    body = _CODERS[coding](bytes(range(256)) * 100)
    with pytest.raises(Malformed):
        decode_body(damage(body), coding, max_bytes=10**6)


def test_too_many_codings_are_rejected() -> None:
    """A few kilobytes that expand to the largest page in each of many codings are rejected."""
    body = bytes(10_000_000)
    for _ in range(20):
        stored = zlib.compressobj(0, wbits=31)
        body = stored.compress(body) + stored.flush()
    bomb = gzip.compress(gzip.compress(body))
    assert len(bomb) < 10_000
    started = time.process_time()
    with pytest.raises(Malformed, match="22 content codings"):
        decode_body(bomb, ", ".join(["gzip"] * 22), max_bytes=20_000_000)
    assert time.process_time() - started < 0.1
    assert decode_body(gzip.compress(b"x"), "identity, gzip, , identity", max_bytes=10) == b"x"


def test_unknown_codings_are_rejected() -> None:
    """The error names a coding we did not accept."""
    with pytest.raises(Malformed, match="br"):
        decode_body(b"x", "br", max_bytes=10)


@given(st.binary(max_size=300), st.sampled_from(["gzip", "zstd", "deflate"]))
def test_noise_raises_only_malformed(noise: bytes, coding: str) -> None:
    """No bytes raise anything but `Malformed`."""
    try:
        decode_body(noise, coding, max_bytes=1000)
    except Malformed:
        pass
