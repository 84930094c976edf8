"""Edges of pure functions that mutation testing showed to be untested; see docs/testing.md."""

import errno
from urllib.parse import urljoin

import pytest

from simple_repository_server.disk.allowance import OverBudget
from simple_repository_server.distributions.filenames import (
    parse_distribution,
    parse_version,
    version_of,
)
from simple_repository_server.errors import NotAcceptable, ProjectNotFound, SourceUnavailable
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.sizes import parse_size
from simple_repository_server.resource import ByteRange
from simple_repository_server.upstream.breaker import Breaker, Failure
from simple_repository_server.upstream.private_addresses import (
    PrivateAddress,
    Zone,
    zone_of_name,
    zone_of_source,
)
from simple_repository_server.web.conditional import (
    UNSATISFIABLE,
    compressed_etag,
    wanted_range,
)
from simple_repository_server.web.problems import Problem, problem_of, render_problem
from simple_repository_server.wire.negotiation import (
    ErrorForm,
    Form,
    choose_error_form,
    choose_form,
    requested_form,
)
from simple_repository_server.wire.urls import (
    are_usual_together,
    joined,
    last_segment,
    legal_reference,
    resolver,
)

JSON = "application/vnd.pypi.simple.v1+json"
HTML_V1 = "application/vnd.pypi.simple.v1+html"


def test_an_egg_needs_no_python_tag() -> None:
    """The shortest egg name is a project and a version."""
    found = parse_distribution("foo-1.0.egg")
    assert found is not None
    assert (found.project, found.version) == ("foo", "1.0")


def test_version_of_the_shortest_names() -> None:
    """The suffix is not part of the version, where nothing stands between them."""
    assert version_of("foo-1.0.egg", ProjectName("foo")) == "1.0"
    assert version_of("foo-1.0.whl", ProjectName("foo")) == "1.0"


def test_underscores_in_a_version_are_dashes() -> None:
    """Old tools wrote `_` for `-` in file names: `1.0_1` is the post-release `1.0-1`."""
    assert parse_version("1.0_1") == parse_version("1.0.post1")


def test_the_largest_size_is_accepted() -> None:
    """The bound is part of what is allowed."""
    assert parse_size(str(2**60)) == 2**60
    with pytest.raises(ValueError, match="larger than any disk"):
        parse_size(str(2**60 + 1))


@pytest.mark.parametrize("by_eviction", [False, True])
def test_over_budget_is_an_error_of_the_operating_system(*, by_eviction: bool) -> None:
    """It is "disk quota exceeded" for all that handle `OSError`, with its reason."""
    error = OverBudget("it is too large", by_eviction=by_eviction)
    assert (error.errno, error.strerror) == (errno.EDQUOT, "it is too large")
    assert error.by_eviction is by_eviction
    assert OverBudget("it is too large").by_eviction is False


def test_a_breaker_names_the_status_that_opened_it() -> None:
    """A refused client learns which address answered what."""
    breaker = Breaker()
    for page in "abc":
        breaker = breaker.answered(f"https://x.example/{page}", 503, now=1.0, chance=0.0)
    assert breaker.is_open
    assert breaker.failure == Failure(
        url="https://x.example/c", reason="it answers with status 503"
    )


def test_zones_without_a_usual_address() -> None:
    """A source without addresses is public; names may end with a dot, addresses have a scope."""
    assert zone_of_source([]) is Zone.PUBLIC
    assert zone_of_source(["::%lo"]) is Zone.LOOPBACK
    assert zone_of_name("localhost.") is Zone.LOOPBACK
    assert zone_of_name("XX.") is None


@pytest.mark.parametrize(
    "error",
    [
        ProjectNotFound("foo"),
        NotAcceptable("image/png", ("text/html",)),
        SourceUnavailable("https://x.example/", "no connection"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_problems_show_the_text_of_the_error(error: Exception) -> None:
    """Clients read what the error says."""
    assert problem_of(error).detail == str(error)


@pytest.mark.parametrize("host", ["[::1]", "::1", "127.0.0.1", "localhost", "::1%lo"])
def test_literals_are_read_with_brackets_and_scope(host: str) -> None:
    """An address is the same in brackets and with a scope."""
    assert zone_of_name(host) is Zone.LOOPBACK


@pytest.mark.parametrize("host", ["127.1.", "2130706433.", "0x7f.1", "::1::"])
def test_odd_notations_are_refused(host: str) -> None:
    """Other ways to write an address are refused, also with a dot at the end."""
    with pytest.raises(PrivateAddress):
        zone_of_name(host)


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        # Only spaces and tabs make an element of a list empty.
        ("bytes=1-2,\x0b", 10, None),
        ("bytes=1-2,X", 10, None),
        # 18 digits are read as a number, 19 are beyond the end of any file.
        ("bytes=999999999999999999-", 10**18, ByteRange(10**18 - 1, 10**18)),
        ("bytes=1000000000000000000-", 10**18, UNSATISFIABLE),
        ("bytes=0-1000000000000000000", 1000, ByteRange(0, 1000)),
    ],
)
def test_ranges_at_the_limits(header: str, size: int, expected: object) -> None:
    """Empty elements of a list, and the longest positions."""
    assert wanted_range(header, "", etag=None, size=size) == expected


def test_compressed_body_has_a_tag_of_its_own() -> None:
    """The tag is still quoted, and names the coding."""
    assert compressed_etag('"abc-json"', "gzip") == '"abc-json-gzip"'


def test_no_weight_is_a_weight_of_one() -> None:
    """RFC 9110 §12.4.2; between equal weights JSON is preferred."""
    assert choose_form(f"{JSON};q=1, text/html") is Form.JSON


def test_wildcard_applies_to_other_forms_if_its_own_is_excluded() -> None:
    """`*/*` stands for HTML; without HTML it stands for the others."""
    assert choose_form("text/html;q=0, */*") is Form.JSON
    with pytest.raises(NotAcceptable):
        choose_form("text/html;q=0, text/*;q=0")


def test_plus_in_format_may_be_decoded_as_a_space() -> None:
    """Forms encode a space as `+`, so a `+` that is not encoded arrives as one."""
    assert requested_form("text/html", f"format={JSON}") is Form.JSON


def test_error_form_by_suffix_and_preference() -> None:
    """`+html` is HTML; JSON is preferred between equal weights."""
    assert choose_error_form(HTML_V1) is ErrorForm.HTML
    assert choose_error_form("application/json, text/html") is ErrorForm.JSON


@pytest.mark.parametrize(
    "url",
    [
        "https://host.example/a.whl",
        "https://host.example/a.whl#f",
        "https://host.example/a.whl#f#/g",
        "https://host.example/a.whl?q=/b?/c",
    ],
)
def test_last_segment_ends_at_the_first_mark(url: str) -> None:
    """A query or fragment may contain its own mark again."""
    assert last_segment(url) == "a.whl"


def test_only_ascii_white_space_around_a_reference_is_removed() -> None:
    """As browsers do (WHATWG URL): other characters are rejected or encoded."""
    assert legal_reference(" X y\f") == "X%20y"
    assert legal_reference("x\x0b") is None
    assert legal_reference("\xa0x") == "%C2%A0x"


@pytest.mark.parametrize(
    ("base", "reference"),
    [
        ("https://host.example/a/b?x/y", "../z"),
        ("https://host.example/a/b?x/y?/z", "../z"),
        ("https://host.example/a/b#x/y", "../z"),
        ("https://host.example/a/b/c/", "../../../z"),
        ("https://host.example/a/b/c/", "../../../../z"),
        ("https://host.example/a/b/c/", "../../../../../z"),
        ("https://host.example/a/b/c/", "../xy"),
        ("https://host.example/a/b/c/", "../.."),
        ("https://host.example/a/b/c/", "..//x"),
        ("https://host.example/a/b/c/", "../a/../b"),
        ("https://host.example/a/b/c/", "../a/b"),
    ],
)
def test_fast_path_of_references_equals_the_standard_library(base: str, reference: str) -> None:
    """Also for bases with a query, and for more steps up than there are folders."""
    assert resolver(base)(reference) == urljoin(base, reference)


@pytest.mark.parametrize(
    ("reference", "message"),
    [("a\r\nb", "it contains control"), ("//own%5C@x.example/", "it has a backslash before")],
)
def test_rejected_reference_names_its_defect(reference: str, message: str) -> None:
    """The operator reads what is wrong with an address."""
    with pytest.raises(ValueError, match=f"^{message}"):
        joined("https://host.example/", reference)


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ([], False),
        (["https://host.example/a"], True),
        (["https://host.example/a", "https://host.example/b?c=%2B"], True),
        (["https://host.example/a", "https://other.example/b"], False),
        (["https://host.example/a", "b"], False),
        (["b", "https://host.example/a"], False),
        (["b\nhttps://host.example/a"], False),
        (["https://host.example/a", "b\nhttps://host.example/a"], False),
        (["https://host.example/a", "https://host.example/ö"], False),
        (["https://host.example/a", "https://host.example/\x7f"], False),
        *[([f"https://host.example/a{mark}"], False) for mark in ' "<>\\^`{|}#'],
    ],
)
def test_usual_addresses_are_recognised_together(references: list[str], *, expected: bool) -> None:
    """All at one host, absolute and legal: none of them has to be resolved."""
    assert are_usual_together(references) is expected
    if expected:
        resolve = resolver("https://index.example/simple/")
        assert [resolve(reference) for reference in references] == references


def test_types_after_an_invalid_one_count() -> None:
    """An item that is no media type is skipped, the rest of the header is not."""
    assert choose_form(f"?, {JSON}") is Form.JSON


@pytest.mark.parametrize(("status", "title"), [(404, "404 Not found"), (418, "418 Error")])
def test_rendered_problem_is_titled_and_not_cached(status: int, title: str) -> None:
    """The body depends on `Accept`, and no browser may guess another type for it."""
    headers, body = render_problem(Problem(status, "a < b"), "text/html")
    assert headers == [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept"),
        (b"x-content-type-options", b"nosniff"),
    ]
    assert f"<title>{title}</title>" in body.decode()
    assert f"<h1>{title}</h1><p>a &lt; b</p>" in body.decode()
