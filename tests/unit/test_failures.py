"""Errors for failed requests to an upstream."""

import aiohttp
import pytest

from simple_repository_server.errors import SourceInvalid, SourceTimeout, SourceUnavailable
from simple_repository_server.upstream.failures import (
    error_for_exception,
    error_for_status,
    was_connected,
)
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
def test_errors_for_statuses(
    status: int, headers: dict[str, str], kind: type, transient: object, wait: object
) -> None:
    """401, 403, 429 and 5xx mean unavailable, others invalid; only 429 and 5xx are retried."""
    error = error_for_status("https://index.example/", status, headers)
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
        (KeyError("unforeseen"), SourceInvalid, False),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogate"), SourceInvalid, False),
        (RuntimeError(), SourceInvalid, False),
    ],
)
def test_errors_for_exceptions(error: Exception, kind: type, transient: object) -> None:
    """Silence is a timeout, a broken connection is retried, anything else is an invalid answer."""
    found = error_for_exception("x", error)
    assert type(found) is kind
    assert found.transient is transient


@pytest.mark.parametrize(
    ("error", "connected"),
    [
        (ConnectionResetError(), True),
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ClientPayloadError(), True),
        (TimeoutError(), False),
        (aiohttp.ConnectionTimeoutError(), False),
    ],
)
def test_a_connection_that_broke_off_was_established(error: Exception, connected: bool) -> None:
    """Only a connection that was there can break off for one address alone."""
    assert was_connected(error) is connected
