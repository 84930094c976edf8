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
        ("bytes=0-1" + "0" * 30, 10, ByteRange(0, 10)),
        ("bytes=9-1" + "0" * 30, 10, ByteRange(9, 10)),
        ("bytes=-1" + "0" * 30, 10, ByteRange(0, 10)),
        ("bytes=1" + "0" * 30 + "-", 10, UNSATISFIABLE),
        ("bytes=1" + "0" * 30 + "-1" + "0" * 31, 10, UNSATISFIABLE),
        ("bytes=1" + "0" * 31 + "-1" + "0" * 30, 10, None),
        ("bytes=0-" + "9" * 50_000, 10, ByteRange(0, 10)),
        ("bytes=" + "9" * 50_000 + "-", 10, UNSATISFIABLE),
        ("bytes=-" + "9" * 50_000, 10, ByteRange(0, 10)),
        ("bytes=" + "0" * 50_000 + "1-2", 10, ByteRange(1, 3)),
        ("bytes=007-008", 10, ByteRange(7, 9)),
        ("bytes=-003", 10, ByteRange(7, 10)),
        ("bytes=-000", 10, UNSATISFIABLE),
        ("bytes=9-09", 10, ByteRange(9, 10)),
        ("bytes=10-9", 10, None),
        ("bytes=-3", 0, None),
        ("bytes=-0", 0, UNSATISFIABLE),
        ("\tbYtEs=\t1-2 ", 10, ByteRange(1, 3)),
        ("bytes=, 1-2 ,,", 10, ByteRange(1, 3)),
        ("bytes=1-2 3", 10, None),
        ("bytes=1 2-3", 10, None),
        ("bytes=1-2-3", 10, None),
        ("bytes=--3", 10, None),
        ("bytes=+1-2", 10, None),
        ("bytes=0x1-2", 10, None),
        ("bytes=1_0-", 100, None),
        ("bytes=\u0661-", 10, None),
        ("bytes=\xb2-", 10, None),
        ("bytes 1-2", 10, None),
        ("bytes==1-2", 10, None),
        ("bytes=", 10, None),
        ("bytes=,", 10, None),
        ("xbytes=1-2", 10, None),
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


_POSITIONS = st.integers(0, 30) | st.integers(0, 10**40)


@given(_POSITIONS, _POSITIONS | st.none(), st.integers(0, 20), st.text("0", max_size=3))
def test_ranges_are_those_of_plain_arithmetic(
    first: int, last: int | None, size: int, zeros: str
) -> None:
    """However many digits a position has, the part is the one of unbounded numbers (§14.1.2)."""
    header = f"bytes={zeros}{first}-{'' if last is None else f'{zeros}{last}'}"
    expected: object
    if last is not None and last < first:
        expected = None
    elif first >= size:
        expected = UNSATISFIABLE
    else:
        expected = ByteRange(first, size if last is None else min(last + 1, size))
    assert wanted_range(header, "", etag=ETAG, size=size) == expected


@given(_POSITIONS, st.integers(1, 20))
def test_suffixes_are_those_of_plain_arithmetic(length: int, size: int) -> None:
    """The last so many bytes, all of them if there are fewer."""
    expected = ByteRange(max(0, size - length), size) if length else UNSATISFIABLE
    assert wanted_range(f"bytes=-{length}", "", etag=ETAG, size=size) == expected


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
