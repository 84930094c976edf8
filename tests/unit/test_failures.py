"""What a failed exchange with an upstream means."""

import pytest

from simple_repository_server.errors import SourceInvalid, SourceTimeout, SourceUnavailable
from simple_repository_server.upstream.failures import failure, refusal
from simple_repository_server.upstream.private_addresses import PrivateAddress


@pytest.mark.parametrize(
    ("status", "headers", "kind", "transient", "wait"),
    [
        (401, {}, SourceUnavailable, False, None),
        (403, {}, SourceUnavailable, False, None),
        (429, {"Retry-After": "7"}, SourceUnavailable, True, 7),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, SourceUnavailable, True, None),
        (500, {}, SourceUnavailable, True, None),
        (503, {"Retry-After": "99999"}, SourceUnavailable, True, 60),
        (503, {"Retry-After": "9" * 5000}, SourceUnavailable, True, 60),
        (400, {}, SourceInvalid, False, None),
        (206, {}, SourceInvalid, False, None),
    ],
)
def test_refusals(
    status: int, headers: dict[str, str], kind: type, transient: object, wait: object
) -> None:
    """Refused is unavailable, nonsense is invalid; only what may pass is tried again."""
    error = refusal("https://index.example/", status, headers)
    assert type(error) is kind
    assert error.transient is transient
    assert error.retry_after_s == wait
    assert "https://index.example/" in str(error)


@pytest.mark.parametrize(
    ("error", "kind", "transient"),
    [
        (TimeoutError(), SourceTimeout, False),
        (ConnectionResetError(), SourceUnavailable, True),
        (ValueError("bad header"), SourceInvalid, False),
        (PrivateAddress("a private address"), SourceInvalid, False),
        (KeyError("nobody thought of it"), SourceInvalid, False),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogate"), SourceInvalid, False),
        (RuntimeError(), SourceInvalid, False),
    ],
)
def test_failures(error: Exception, kind: type, transient: object) -> None:
    """Silence is a timeout, a broken connection may be tried again, nonsense is invalid."""
    told = failure("x", error)
    assert type(told) is kind
    assert told.transient is transient
