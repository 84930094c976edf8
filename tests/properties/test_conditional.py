"""Conditions and ranges: the vectors of the standards, and no header that breaks them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.resource import ByteRange
from simple_repository_server.web.conditional import UNSATISFIABLE, matches, wanted_range

ETAG = '"sha256:abc"'


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-0", 10, ByteRange(0, 1)),
        ("bytes=0-9", 10, ByteRange(0, 10)),
        ("bytes=5-99", 10, ByteRange(5, 10)),
        ("bytes=5-", 10, ByteRange(5, 10)),
        ("bytes=-3", 10, ByteRange(7, 10)),
        ("bytes=-10000", 10, ByteRange(0, 10)),
        ("BYTES = 1 - 2", 10, ByteRange(1, 3)),
        ("bytes=10-", 10, UNSATISFIABLE),
        ("bytes=-0", 10, UNSATISFIABLE),
        ("bytes=0-", 0, UNSATISFIABLE),
        ("bytes=5-3", 10, None),
        ("bytes=-", 10, None),
        ("bytes=a-b", 10, None),
        ("lines=1-2", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("bytes=" + "9" * 30 + "-", 10, None),
        ("", 10, None),
    ],
)
def test_ranges(header: str, size: int, expected: object) -> None:
    """Each `Range` header asks for what RFC 9110 §14 says."""
    assert wanted_range(header, "", etag=ETAG, size=size) == expected


@given(st.text(max_size=40) | st.text("bytes=0123456789-, ", max_size=30), st.integers(0, 10**12))
def test_a_range_lies_inside_the_file(header: str, size: int) -> None:
    """Whatever the header, the range is a non-empty part of the file."""
    wanted = wanted_range(header, "", etag=ETAG, size=size)
    if isinstance(wanted, ByteRange):
        assert 0 <= wanted.start < wanted.stop <= size


@pytest.mark.parametrize(
    ("if_range", "part"),
    [(ETAG, True), ("", True), ('"other"', False), (f"W/{ETAG}", False), ("garbage", False)],
)
def test_if_range(if_range: str, part: object) -> None:
    """A part is only sent of the very bytes the client has begun with (RFC 9110 §13.1.5)."""
    wanted = wanted_range("bytes=1-2", if_range, etag=ETAG, size=10)
    assert (wanted is not None) == part


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (ETAG, True),
        (f"W/{ETAG}", True),
        (f'"x", {ETAG}', True),
        ("*", True),
        ('"x"', False),
        ("sha256:abc", False),
        ("", False),
    ],
)
def test_if_none_match(header: str, expected: object) -> None:
    """Lists, `*` and weak forms match, other tags do not (RFC 9110 §13.1.2)."""
    assert matches(header, ETAG) is expected
