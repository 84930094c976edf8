"""Addresses: resolved as the standard says, never re-quoted, never anything but http(s)."""

from urllib.parse import unquote, urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from simple_repository_server.wire.urls import (
    joined,
    last_segment,
    legal_reference,
    origin_of,
    parse_http,
    resolver,
    segment,
    without_credentials,
)

BASE = "https://host.example:8443/a/b/simple/foo/"
# With a host of its own it is another matter: not all that the standard allows can be connected to.
_path = st.text("ab./%+~_-2B", max_size=24).filter(lambda text: not text.startswith("//"))


@given(_path)
def test_references_resolve_as_the_standard_library_does(reference: str) -> None:
    """The short ways give what `urljoin` gives."""
    assert resolver(BASE)(reference) == urljoin(BASE, reference)


@given(st.text(max_size=60))
def test_resolving_never_raises_and_never_leaves_http(reference: str) -> None:
    """Any text resolves to an http(s) address that can stand in a request line, or to None."""
    url = resolver(BASE)(reference)
    if url is not None:
        assert origin_of(url)
        assert url.isascii()
        assert not any(character <= " " or character == "\x7f" for character in url)
        assert "@" not in url.split("/")[2]


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("../../files/x-1%2Bcu.whl", "https://host.example:8443/a/b/files/x-1%2Bcu.whl"),
        ("/x.whl?sig=a%2Fb/../c", "https://host.example:8443/x.whl?sig=a%2Fb/../c"),
        ("https://cdn.example/@v1/x.whl", "https://cdn.example/@v1/x.whl"),
        ("//cdn.example/x.whl", "https://cdn.example/x.whl"),
        ("https://user:secret@cdn.example/x", "https://cdn.example/x"),
        (" x y.whl\n", "https://host.example:8443/a/b/simple/foo/x%20y.whl"),
        ("ftp://host.example/x", None),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("https://[::1/x", None),
        ("https://[::1]/x", "https://[::1]/x"),
        # The host ends where it ends for everybody, or there is none.
        ("https://own#@evil/", "https://own#@evil/"),
        ("https://own?@evil/", "https://own?@evil/"),
        ("https://own\\@evil/", None),
        ("https://own%5C@evil/", None),
        ("https://evil\\.own/", None),
        ("https://own:80@evil/", "https://evil/"),
        ("https://a@b@evil/", "https://evil/"),
        ("https://own%2eexample/", None),
        ("https://ö.example/", None),
        ("https://host.example:0/x", None),
        ("https://host.example:99999/x", None),
        ("https://host.example:port/x", None),
        ("https://host.example:/x", "https://host.example:/x"),
        ("https:/path", "https://host.example:8443/path"),
        ("/\\evil/", "https://host.example:8443/%5Cevil/"),
        ("//\\evil/", None),
        ("a\r\nHost: other", None),
    ],
)
def test_addresses_of_all_kinds(reference: str, url: str | None) -> None:
    """Quoting, signatures and `@` survive; credentials and other schemes do not."""
    assert resolver(BASE)(reference) == url


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_segment_round_trips(text: str) -> None:
    """A name survives encoding into a path and decoding again, `+` as `%2B`."""
    encoded = segment(text)
    assert unquote(encoded) == text
    assert not set(encoded) & set("/?#+ ")
    assert last_segment(f"https://host.example/a/{encoded}?q=1#f") == text


@given(st.text(max_size=40))
def test_legal_references_are_legal(text: str) -> None:
    """What comes out can stand in a request, and legal text comes out as it was."""
    legal = legal_reference(text)
    if legal is not None:
        assert legal.isascii()
        assert legal_reference(legal) == legal


def test_credentials_are_taken_out_of_addresses() -> None:
    """`user:password@` does not show."""
    assert without_credentials("https://u:p@host.example/x@y") == "https://host.example/x@y"
    assert without_credentials("https://u:p?x@host.example/") == "https://u:p?x@host.example/"


_TRICKY = st.text("aB1.:@/\\?#[]%5c -\x00\n", max_size=24)


@given(st.sampled_from(["https://", "http://", "//", "https:", ""]), _TRICKY)
def test_two_parsers_agree_on_where_an_address_leads(scheme: str, text: str) -> None:
    """The origin that is checked is the one that the HTTP library connects to, or there is none."""
    try:
        address = joined(BASE, scheme + text)
    except ValueError:
        return
    library = URL(address.bare, encoded=True)
    assert (library.scheme, (library.raw_host or "").lower(), library.port) == address.origin
    assert library.raw_user is None
    assert parse_http(address.bare).origin == address.origin
