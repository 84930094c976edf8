"""What a failed exchange with an upstream means: pure functions from facts to our errors.

The texts name no address, as an address may hold a signature; the label of the source says where.
"""

import asyncio
import os
from collections.abc import Mapping

import aiohttp

from simple_repository_server.errors import SourceInvalid, SourceTimeout, SourceUnavailable
from simple_repository_server.upstream.addresses import PrivateAddress

_TOO_MANY, _UNAUTHORIZED, _FORBIDDEN, _SERVER_ERRORS = 429, 401, 403, 500
#: Waiting longer than this is left to the client.
_MAX_RETRY_AFTER_S = 60


def refusal(label: str, status: int, headers: Mapping[str, str]) -> SourceUnavailable:
    """The error for an answer with a status that is neither success nor "not there"."""
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        reason = f"it refuses us (status {status}); check its credentials"
        return SourceUnavailable(label, reason, refused=True)
    if status == _TOO_MANY or status >= _SERVER_ERRORS:
        reason = f"it answers with status {status}"
        wait = retry_after_s(headers)
        return SourceUnavailable(label, reason, retry_after_s=wait, transient=True)
    return SourceInvalid(label, f"status {status}")


def retry_after_s(headers: Mapping[str, str]) -> int | None:
    """The seconds of a `Retry-After` header, within reason; None if it has none (or a date)."""
    text = headers.get("Retry-After", "")
    if not text.isascii() or not text.isdigit():
        return None
    # By way of a float, as `int` refuses texts of some thousand digits.
    return int(min(float(text), _MAX_RETRY_AFTER_S))


def failure(label: str, error: BaseException) -> SourceUnavailable:
    """The error for an exchange that broke before an answer was complete."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return SourceTimeout(label, "no connection")
    if isinstance(error, asyncio.TimeoutError):
        return SourceTimeout(label, "it stopped answering")
    if isinstance(error, PrivateAddress):
        return _private(label, error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _no_connection(label, error)
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | ValueError):
        return SourceInvalid(label, "it does not speak proper HTTP")
    return SourceUnavailable(label, "the connection broke off", transient=True)


def _no_connection(label: str, error: aiohttp.ClientConnectorError) -> SourceUnavailable:
    if isinstance(error, aiohttp.ClientSSLError):
        return SourceUnavailable(label, "its TLS certificate or protocol is not accepted")
    cause = error.os_error
    if isinstance(cause, PrivateAddress):
        return _private(label, cause)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return SourceUnavailable(label, "its host name cannot be resolved", transient=True)
    # Not the text of the error: that holds the address, of a host inside a network perhaps.
    reason = os.strerror(cause.errno).lower() if cause.errno else "connection failed"
    return SourceUnavailable(label, f"no connection ({reason})", transient=True)


def _private(label: str, error: PrivateAddress) -> SourceInvalid:
    return SourceInvalid(label, f"it leads to {error}, where a public index has no business")
