"""Headers of an upstream: whatever bytes they hold, behind the door they are plain text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.upstream.headers import (
    ContentRange,
    clean_headers,
    content_range_in,
    length_in,
    strong_tag_in,
    version_in,
)

_NAMES = ["ETag", "Content-Type", "Location", "Content-Length", "Content-Range", "Cache-Control"]
_lines = st.lists(st.tuples(st.sampled_from(_NAMES).map(str.encode), st.binary(max_size=30)))


@given(_lines)
def test_every_value_is_printable_ascii(raw: list[tuple[bytes, bytes]]) -> None:
    """No value raises anything, and each can be sent on, put into JSON and into a log."""
    headers = clean_headers(raw)
    assert all(value.isascii() for value in headers.values())
    length_in(headers)
    content_range_in(headers)
    assert (strong_tag_in(headers) or '""').isprintable()
    version_in(headers)


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        (b"ETag", b'"abc"', '"abc"'),
        (b"etag", b'"\xff"', None),
        (b"Last-Modified", b"Wed, 21 Oct 2026 07:28:00 GM\xd4", None),
        (b"Content-Type", b"text/html; charset=\xff", "text/html; charset=?"),
        (b"Cache-Control", b"max-age=60, x=\xf6", "max-age=60, x=?"),
        (b"Retry-After", b"\xb2", "?"),
        (b"Location", "/ö x".encode(), "/%C3%B6 x"),
        (b"Location", b"/\xff", "/%FF"),
        (b"X", b" \t a\tb ", "a\tb"),
    ],
)
def test_header_values_are_cleaned(name: bytes, raw: bytes, value: str | None) -> None:
    """Non-ASCII validators are dropped, addresses encoded as by browsers, others masked."""
    assert clean_headers([(name, raw)]).get(name.decode().upper()) == value


def test_repeated_headers_are_joined_or_the_first_counts() -> None:
    """Lists are joined; of single values the first one counts."""
    raw = [(b"Cache-Control", b"no-cache"), (b"cache-control", b"max-age=9"), (b"ETag", b'"1"')]
    headers = clean_headers([*raw, (b"ETag", b'"2"'), (b"Content-Length", b"1")])
    assert headers["Cache-Control"] == "no-cache, max-age=9"
    assert headers["ETag"] == '"1"'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 0-0/9", ContentRange(0, 1, 9)),
        ("bytes 5-8/9", ContentRange(5, 9, 9)),
        ("bytes 5-8/*", ContentRange(5, 9, None)),
        ("bytes 5-9/9", None),
        ("bytes 5-4/9", None),
        ("bytes */9", None),
        ("bytes 0-0/" + "9" * 5000, None),
        ("bytes ²-3/9", None),
        ("", None),
    ],
)
def test_content_range_is_parsed_if_valid(text: str, found: ContentRange | None) -> None:
    """A range must lie within the announced size."""
    assert content_range_in({"Content-Range": text}) == found


@pytest.mark.parametrize("text", ["", "-1", "1.5", "9" * 5000, "²", "0x1"])
def test_invalid_lengths_are_unknown(text: str) -> None:
    """An invalid Content-Length means an unknown length, not an error."""
    assert length_in({"Content-Length": text}) is None
