"""The head of an answer: its headers as they go over the wire, and nothing that ends them early."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.web.reply import Head

CONTROLS = [bytes([code]) for code in (*range(0x09), *range(0x0A, 0x20), 0x7F)]


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("place", ["name", "value"])
def test_control_characters_are_refused(control: bytes, place: str) -> None:
    """A header with one, in whichever half and place, is not encoded, however often it is tried."""
    for text in (control, b"a" + control, control + b"b", b"a" + control + b"b"):
        bad = (text, b"value") if place == "name" else (b"x-name", text)
        head = Head(200, [(b"etag", b"1"), bad, (b"x-last", b"2")])
        for _ in range(2):
            with pytest.raises(ValueError, match="control character"):
                _ = head.lines


def test_what_may_be_in_a_value_stays() -> None:
    """Tabs, spaces and bytes beyond ASCII are no control characters (RFC 9110 §5.5)."""
    head = Head(200, [(b"x-a", b"1\t2 3"), (b"x-b", "é".encode()), (b"x-c", b"")])
    assert head.lines == b"x-a: 1\t2 3\r\nx-b: \xc3\xa9\r\nx-c: \r\n"


def test_headers_are_encoded_once() -> None:
    """The same bytes are given each time: what is made of them is remembered by head."""
    head = Head(200, [(b"etag", b"1")])
    assert head.lines is head.lines


def test_a_head_without_headers_has_no_lines() -> None:
    """There is nothing to encode."""
    assert Head(200, []).lines == b""


@given(
    st.lists(
        st.tuples(
            st.from_regex(re.compile(rb"[a-z][a-z-]{0,10}", re.ASCII), fullmatch=True),
            st.binary(max_size=20),
        ),
        max_size=5,
    )
)
def test_lines_are_the_headers_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """What is encoded reads as those headers and no others."""
    head = Head(200, headers)
    try:
        lines = head.lines
    except ValueError:
        assert any(byte < 0x20 or byte == 0x7F for _, value in headers for byte in value)
        return
    read = [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n")[:-1]]
    assert read == headers
