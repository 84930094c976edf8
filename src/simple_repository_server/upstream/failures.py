"""Errors for failed requests to an upstream: pure functions from status or exception to ours.

Their texts contain no address, as one may hold a signature; the label of the source says where.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping

import aiohttp

from simple_repository_server.errors import SourceInvalid, SourceTimeout, SourceUnavailable
from simple_repository_server.upstream.private_addresses import PrivateAddress
from simple_repository_server.wire.urls import origin_of

_UNAUTHORIZED = 401
_FORBIDDEN = 403
_PROXY_UNAUTHORIZED = 407
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
_TLS_FAILED = "no TLS connection could be negotiated with {}; check its scheme and port"
_UNKNOWN_AUTHORITY = (
    "it is not signed by an authority this machine trusts. If your company has its own authority, "
    "or a proxy that inspects TLS, give that authority's certificate with --ca-file"
)
_OTHER_HOST = "it is for another host name"
#: By the codes of OpenSSL (`X509_V_ERR_…`).
_CERTIFICATE_ERRORS = {
    2: _UNKNOWN_AUTHORITY,
    9: "it is not valid yet; check this machine's clock",
    10: "it has expired; it must be renewed there, unless this machine's clock is wrong",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    62: _OTHER_HOST,
    64: _OTHER_HOST,
}
#: Waiting longer than this is left to the client.
_MAX_RETRY_AFTER_S = 60


def error_for_status(label: str, status: int, headers: Mapping[str, str]) -> SourceUnavailable:
    """The error for a status that is neither success nor "not found"."""
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        reason = f"it refuses us (status {status}); check its credentials"
        return SourceUnavailable(label, reason, refused=True)
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERRORS:
        reason = f"it answers with status {status}"
        wait = retry_after_s(headers)
        return SourceUnavailable(label, reason, retry_after_s=wait, transient=True)
    return SourceInvalid(label, f"status {status}")


def retry_after_s(headers: Mapping[str, str]) -> int | None:
    """The seconds of a `Retry-After` header, at most a minute; None if it is absent or a date."""
    text = headers.get("Retry-After", "")
    if not text.isascii() or not text.isdigit():
        return None
    # Through a float, as `int` refuses texts of some thousand digits.
    return int(min(float(text), _MAX_RETRY_AFTER_S))


def error_for_exception(
    label: str, error: BaseException, *, proxy: str | None = None
) -> SourceUnavailable:
    """The error for a request that failed before its answer was complete.

    `proxy` is the address, without credentials, of the proxy in between. An exception of an
    unforeseen kind means an invalid answer.
    """
    if isinstance(error, asyncio.TimeoutError):
        connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
        reason = f"no connection{_through(proxy)}" if connecting else "it stopped answering"
        return SourceTimeout(label, reason)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _no_connection(label, error, proxy)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused_by_proxy(label, error.status, proxy)
    return _no_answer(label, error, proxy)


def was_connected(error: BaseException) -> bool:
    """Whether the connection was established, and broke off: perhaps for this address alone."""
    without = asyncio.TimeoutError | aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError
    return not isinstance(error, without)


def _no_answer(label: str, error: BaseException, proxy: str | None) -> SourceUnavailable:
    if isinstance(error, PrivateAddress):
        return _private(label, error)
    if isinstance(error, ssl.SSLError):
        return SourceUnavailable(label, _TLS_FAILED.format("it"))
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | ValueError):
        who = f"it, or the proxy {proxy}," if proxy else "it"
        return SourceInvalid(label, f"{who} does not speak proper HTTP")
    if isinstance(error, aiohttp.ClientError | OSError):
        return SourceUnavailable(
            label, f"the connection{_through(proxy)} broke off", transient=True
        )
    return SourceInvalid(label, f"its answer cannot be read ({type(error).__name__})")


def _through(proxy: str | None) -> str:
    return f" through the proxy {proxy}" if proxy else ""


def _refused_by_proxy(label: str, status: int, proxy: str | None) -> SourceUnavailable:
    if status == _PROXY_UNAUTHORIZED:
        reason = "requires authentication (status 407); check the user and password in its address"
        return SourceUnavailable(label, f"the proxy {proxy} {reason}")
    transient = status >= _SERVER_ERRORS
    reason = f"the proxy {proxy} did not connect to it (status {status})"
    return SourceUnavailable(label, reason, transient=transient)


def _no_connection(
    label: str, error: aiohttp.ClientConnectorError, proxy: str | None
) -> SourceUnavailable:
    if isinstance(error, aiohttp.ClientSSLError):
        return SourceUnavailable(label, _bad_tls(error, proxy))
    cause = error.os_error
    if isinstance(cause, PrivateAddress):
        return _private(label, cause)
    # With a proxy only its own host name is resolved here.
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        whose = f"the host name of the proxy {proxy}" if proxy else "its host name"
        return SourceUnavailable(label, f"{whose} cannot be resolved", transient=True)
    # Not the text of the exception: it contains the address, perhaps of a host inside a network.
    reason = os.strerror(cause.errno).lower() if cause.errno else "connection failed"
    to = f" to the proxy {proxy}" if proxy else ""
    return SourceUnavailable(label, f"no connection{to} ({reason})", transient=True)


def _bad_tls(error: aiohttp.ClientSSLError, proxy: str | None) -> str:
    """What is wrong and what to do; not OpenSSL's text, which may name a host."""
    of_proxy = proxy is not None and (error.host, error.port) == origin_of(proxy)[1:]
    if not isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _TLS_FAILED.format(f"the proxy {proxy}" if of_proxy else "it")
    code = getattr(error.certificate_error, "verify_code", 0)
    wrong = _CERTIFICATE_ERRORS.get(code, f"it is not accepted (OpenSSL's code {code})")
    whose = f"the TLS certificate of the proxy {proxy}" if of_proxy else "its TLS certificate"
    return f"{whose} was rejected: {wrong}"


def _private(label: str, error: PrivateAddress) -> SourceInvalid:
    return SourceInvalid(label, f"it leads to {error}")
