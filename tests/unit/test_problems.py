"""Every error has a status, and no error tells what it should not."""

import inspect

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server import errors
from simple_repository_server.errors import (
    HiddenByRule,
    InvalidName,
    Malformed,
    NotAcceptable,
    ProjectNotFound,
    RepositoryError,
    ResourceNotFound,
    RuleUnavailable,
    SourceInvalid,
    SourceTimeout,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.web.problems import STATUSES, Problem, problem_of, render_problem

EXAMPLES = [
    (InvalidName("project", "-bad-"), 404),
    (ProjectNotFound("foo"), 404),
    (ResourceNotFound("foo", "foo-1.0.tar.gz"), 404),
    (HiddenByRule("foo", rule="deny foo", reason="It is denied."), 403),
    (RuleUnavailable("advisories", "the folder is missing"), 503),
    (NotAcceptable("image/png", ("text/html",)), 406),
    (SourceUnavailable("https://x.example/", "no connection"), 503),
    (SourceTimeout("https://x.example/", "no answer"), 504),
    (SourceInvalid("https://x.example/", "nonsense"), 502),
    (Malformed("it is no page"), 502),
    (TransferAborted("it is cut off"), 502),
    (RepositoryError("it is not open"), 500),
    (ValueError("a secret detail"), 500),
]


@pytest.mark.parametrize(("error", "status"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_statuses(error: Exception, status: int) -> None:
    """The one table says which status each error becomes."""
    assert problem_of(error).status == status


def test_every_error_is_covered() -> None:
    """Each class of the tree is tried above, so none is forgotten here or in the table."""
    classes = {
        c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__
    }
    tried = {kind for error, _ in EXAMPLES for kind in type(error).__mro__}
    assert classes <= tried
    assert set(STATUSES) <= tried


def test_the_unexpected_is_not_told() -> None:
    """Of an error of ours clients learn nothing; it is marked for the log."""
    problem = problem_of(ValueError("a secret detail"))
    assert "secret" not in problem.detail
    assert problem.unexpected


@pytest.mark.parametrize("asked", [None, 1, 17, 60])
@pytest.mark.parametrize("kind", [SourceUnavailable, SourceTimeout, SourceInvalid])
def test_clients_are_never_made_to_wait_long(
    kind: type[SourceUnavailable], asked: int | None
) -> None:
    """Whatever the source asks for, Retry-After is 1: pip and poetry wait that long five times."""
    headers = dict(problem_of(kind("x", "y", retry_after_s=asked)).headers)
    assert headers[b"retry-after"] == b"1"


def test_failures_of_the_index_have_their_sentence_as_reason_phrase() -> None:
    """What is wrong behind this server is in the status line, as installers show no body."""
    problem = problem_of(SourceUnavailable("https://x.example/", "no connection"))
    assert problem.reason == problem.detail
    assert problem_of(ProjectNotFound("foo")).reason == ""


@given(st.text(max_size=500))
def test_a_reason_phrase_can_always_be_sent(detail: str) -> None:
    """Whatever the sentence says, its phrase is a short line of printable ASCII (RFC 9112 §4)."""
    reason = Problem(503, detail).reason
    assert reason.isascii()
    assert reason.isprintable()
    assert len(reason) <= 300


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/vnd.pypi.simple.v1+json", "application/json"),
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
    ],
)
def test_forms(accept: str, content_type: str) -> None:
    """The problem comes in the client's form, not to be stored, with markup escaped."""
    headers, body = render_problem(Problem(404, "no <b>such</b> thing"), accept)
    given = dict(headers)
    assert given[b"content-type"].decode() == content_type
    assert given[b"cache-control"] == b"no-store"
    assert int(given[b"content-length"]) == len(body)
    if "html" in accept:
        assert b"&lt;b&gt;" in body
    if "json" in accept:
        assert msgspec.json.decode(body) == {"detail": "no <b>such</b> thing"}
