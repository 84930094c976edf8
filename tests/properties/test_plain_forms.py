"""Versions and headers that are plain are read without a parser: with the parser's outcome."""

import email

from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from simple_repository_server.distributions.filenames import sorted_versions
from simple_repository_server.distributions.metadata import requires_python

_VERSIONS = st.lists(st.sampled_from(["0", "1", "2", "10", "01"]), min_size=1, max_size=4)
_PIECES = st.sampled_from(
    [b"Requires-Python", b"requires-python", b":", b": ", b" ", b">=3.8", b"\n", b"\n\n", b"\r\n",
     b"\r", b"\t", b"Name: x\n", b"\x0b", b"\xc3\xa4", b"=?utf-8?q?a?=", b"From a: b", b"\x00"]
)  # fmt: skip


@given(st.lists(_VERSIONS.map(".".join), max_size=8))
def test_plain_versions_are_sorted_as_pep_440_orders_them(texts: list[str]) -> None:
    """Trailing zeros do not count; equal versions are in the order of their texts."""
    assert sorted_versions(texts) == tuple(sorted(sorted(set(texts)), key=Version))


@given(st.lists(_PIECES, max_size=12).map(b"".join))
def test_requires_python_is_what_the_email_parser_finds(metadata: bytes) -> None:
    """In plain headers, and in any others."""
    head = metadata.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    value = email.message_from_bytes(head).get("Requires-Python")
    expected = str(value).strip() or None if value is not None else None
    assert requires_python(metadata) == expected
