"""Content negotiation: the vectors of the standards, and no header that breaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.errors import NotAcceptable
from simple_repository_server.wire.negotiation import (
    Coding,
    ErrorForm,
    Form,
    choose_coding,
    choose_error_form,
    choose_form,
    requested_form,
)

J = "application/vnd.pypi.simple.v1+json"
H = "application/vnd.pypi.simple.v1+html"

FORMS = [
    ("", Form.HTML),
    ("*/*", Form.HTML),
    ("application/*", Form.JSON),
    ("text/*", Form.HTML),
    (J, Form.JSON),
    (H, Form.HTML_V1),
    ("text/html", Form.HTML),
    ("text/html;charset=utf-8", Form.HTML),
    (f"text/html;q=0.9, {J};q=0.1", Form.HTML),
    (f"{J};q=0, */*", Form.HTML),
    (f"*/*;q=0.1, {J}", Form.JSON),
    (f"*/*, {J};q=0.1", Form.HTML),
    (J.upper(), Form.JSON),
    (f"{J};q=1.0000", Form.JSON),
    (f"{J};q=nonsense", Form.JSON),
    ("garbage", Form.HTML),
    (",,;q=;,", Form.HTML),
    (f"application/vnd.pypi.simple.v2+json, {J};q=0.5", Form.JSON),
    ("application/vnd.pypi.simple.latest+json", Form.JSON),
    ("application/vnd.pypi.simple.latest+html", Form.HTML_V1),
    # The headers clients send: pip, uv, poetry, a browser, a client that likes all the same.
    (f"{J}, {H}; q=0.1, text/html; q=0.01", Form.JSON),
    (f"{J}, {H};q=0.2, text/html;q=0.01", Form.JSON),
    (f"{J}, */*;q=0.1", Form.JSON),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form.HTML),
    (f"text/html, {H}, {J}", Form.JSON),
    (f"text/html, {H}", Form.HTML_V1),
    (f" {J} ; q = 0.2 , text/html;q=0.1", Form.JSON),
]
REFUSED = [
    "application/vnd.pypi.simple.v2+json",
    "application/json",
    "image/png",
    f"text/html;q=0, {H};q=0",
    f"{J};q=0",
]
CODINGS = [
    ("gzip, deflate, zstd", Coding.ZSTD),
    ("gzip, deflate", Coding.GZIP),
    ("identity", Coding.IDENTITY),
    ("", Coding.IDENTITY),
    ("gzip;q=0", Coding.IDENTITY),
    ("*", Coding.ZSTD),
    ("gzip, identity;q=0", Coding.GZIP),
    ("br", Coding.IDENTITY),
    ("zstd;q=0.5, gzip;q=0.9", Coding.GZIP),
    ("identity;q=1, gzip;q=0.5", Coding.IDENTITY),
    ("GZIP", Coding.GZIP),
    ("x-gzip", Coding.GZIP),
    ("*;q=0", Coding.IDENTITY),
]


@pytest.mark.parametrize(("accept", "form"), FORMS)
def test_forms(accept: str, form: Form) -> None:
    """Each `Accept` header gets the form that STANDARDS §1.2 and §7 say."""
    assert choose_form(accept) is form


@pytest.mark.parametrize("accept", REFUSED)
def test_nothing_on_offer_is_406(accept: str) -> None:
    """A header that names only what we have not is refused, with a list of what we have."""
    with pytest.raises(NotAcceptable, match="v1.json"):
        choose_form(accept)


@pytest.mark.parametrize(("accept_encoding", "coding"), CODINGS)
def test_codings(accept_encoding: str, coding: Coding) -> None:
    """Each `Accept-Encoding` header gets the coding that STANDARDS §7 says."""
    assert choose_coding(accept_encoding) is coding


@given(st.text(max_size=80) | st.text("application/vnd.pypi+json;q=.01*, ", max_size=80))
def test_no_header_breaks_negotiation(header: str) -> None:
    """Any header gets a form or `NotAcceptable`, a coding, and a form for errors."""
    try:
        assert choose_form(header) in Form
    except NotAcceptable:
        pass
    assert choose_coding(header) in Coding
    assert choose_error_form(header) in ErrorForm


@given(st.text(max_size=60))
def test_a_wildcard_is_never_refused(junk: str) -> None:
    """Whoever takes anything gets something."""
    choose_form(f"{junk.replace(';', '').replace(',', '')}, */*")


@pytest.mark.parametrize(
    ("query", "form"),
    [
        (f"format={J}", Form.JSON),
        (f"format={J.replace('+', '%2B')}", Form.JSON),
        ("format=application/vnd.pypi.simple.latest%2Bhtml", Form.HTML_V1),
        ("format=text/html", Form.HTML),
        ("format=", Form.JSON),
        ("format=*/*", Form.JSON),
        ("other=text/html", Form.JSON),
    ],
)
def test_the_query_speaks_louder(query: str, form: Form) -> None:
    """`?format=` wins over `Accept` when it names a type, its `+` decoded or not."""
    assert requested_form(J, query) is form


def test_an_unknown_format_is_refused() -> None:
    """`?format=` with a type we have not is 406."""
    with pytest.raises(NotAcceptable):
        requested_form("*/*", "format=application/json")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("application/json", ErrorForm.JSON),
        (f"{J}, {H};q=0.2, text/html;q=0.01", ErrorForm.JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", ErrorForm.HTML),
        ("*/*", ErrorForm.TEXT),
        ("", ErrorForm.TEXT),
        ("image/png", ErrorForm.TEXT),
    ],
)
def test_error_forms(accept: str, form: ErrorForm) -> None:
    """JSON for those who read it, HTML for browsers, text for the rest."""
    assert choose_error_form(accept) is form
