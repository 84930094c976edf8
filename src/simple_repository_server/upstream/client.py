"""Requests to other indexes: bounded in time, size, redirects and connections.

Every request goes through `_send`: it follows redirects by hand, so that credentials stay at their
origin and a public index cannot redirect us into the private network. An origin that fails gets no
further requests until a probe succeeds (`origins.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from typing_extensions import override

from simple_repository_server.errors import (
    Malformed,
    RepositoryError,
    SourceInvalid,
    SourceTimeout,
    SourceUnavailable,
)
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.upstream.answers import MISSING, Answer, Incoming
from simple_repository_server.upstream.breaker import Breaker
from simple_repository_server.upstream.credentials import Credentials, credentials_in
from simple_repository_server.upstream.decoding import ACCEPT_ENCODING, decode_body
from simple_repository_server.upstream.egress import Egress
from simple_repository_server.upstream.failures import (
    error_for_exception,
    error_for_status,
    was_connected,
)
from simple_repository_server.upstream.limits import Limits
from simple_repository_server.upstream.origins import OnChange, Origins
from simple_repository_server.upstream.pool import Lease, Pool
from simple_repository_server.upstream.retry import with_retries
from simple_repository_server.upstream.transport import SHORT_BYTES, Transport
from simple_repository_server.wire.urls import joined

__all__ = ["Answer", "Incoming", "Limits", "UpstreamClient", "decoded"]

_OK = 200
_NOT_MODIFIED = 304
_NOT_ACCEPTABLE = 406
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
#: Larger bodies are decoded in a thread.
_DECODE_HERE_BYTES = 16 * 1024
#: A probe needs an answer, but nothing of its body.
_PROBE = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": "bytes=0-0"}
_FOR_FILE = {"Accept": "*/*", "Accept-Encoding": "identity"}
_MAX_DOUBLINGS = 10


class UpstreamClient(SharedLifespan):
    """A client for one index at `url`, called `label` in errors.

    `absent` are further statuses that mean "not found" (some indexes answer 403 for it). An
    `offline` client sends nothing. `egress` are the proxies and certificates to use; a `session`,
    if given, sends all requests and is not closed. `on_change` is called when the circuit of an
    origin opens or closes.
    """

    def __init__(
        self,
        url: str,
        *,
        label: str,
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        absent: frozenset[int] = frozenset(),
        offline: bool = False,
        egress: Egress | None = None,
        session: aiohttp.ClientSession | None = None,
        on_change: OnChange = lambda _place, _reason: None,
    ) -> None:
        self.label = label
        #: Part of cache keys: a client with other credentials may get other content.
        self.identity = label
        self.limits = limits = limits or Limits()
        self._origins = Origins(
            url,
            label=label,
            pristine=Breaker(
                open_after=limits.failures,
                first_s=limits.probe_first_s,
                longest_s=limits.probe_longest_s,
            ),
            probe=self._probe,
            on_change=on_change,
        )
        self._absent = MISSING | absent
        self._offline = offline
        self._credentials = credentials
        self._transport = Transport(
            url, label=label, limits=limits, egress=egress or Egress(), session=session
        )
        self._for_pages = Pool(
            limits.connections, wait_s=limits.pool_wait_s, label=label, what="pages"
        )
        self._for_files = Pool(
            limits.file_connections, wait_s=limits.pool_wait_s, label=label, what="files"
        )

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Raises `ValueError` if certificates cannot be read. In the end closes all connections."""
        await self._transport.open()
        self._origins.open()
        try:
            yield
        finally:
            await self._origins.close()
            await self._transport.close()

    @property
    def open_circuits(self) -> str:
        """Which origin is unavailable, until when and why, for people; empty if none is."""
        return self._origins.open_circuits

    @property
    def is_silent(self) -> bool:
        """Whether the circuit of the index is open, or its last attempts had no answer."""
        return self._origins.is_silent

    async def get(
        self, url: str, *, accept: str, headers: Mapping[str, str], max_bytes: int
    ) -> Answer:
        """A page, complete and decoded; without its body if it is not modified or not found.

        Raises `SourceUnavailable` or one of its kinds.
        """
        wanted = {"Accept": accept, "Accept-Encoding": ACCEPT_ENCODING, **headers}

        async def get() -> Answer:
            with await self._for_pages.lease():
                return await self._get_once(url, wanted, max_bytes)

        try:
            async with asyncio.timeout(self.limits.page_s):
                return await with_retries(get, self.limits)
        except TimeoutError as error:
            raise SourceTimeout(self.label, f"longer than {self.limits.page_s:.0f} s") from error

    async def _get_once(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        response = await self._send("GET", url, headers)
        try:
            status, final = response.status, response.url
            missing = status in self._absent
            if missing or status == _NOT_MODIFIED:
                status = 404 if missing else _NOT_MODIFIED
                return Answer(status=status, headers=response.headers, url=final, body=b"")
            if status == _NOT_ACCEPTABLE and headers["Accept"] != "*/*":
                return await self._get_once(url, {**headers, "Accept": "*/*"}, max_bytes)
            if status != _OK:
                raise error_for_status(self.label, status, response.headers)
            raw = await response.read(max_bytes)
        finally:
            response.release()
        coding = response.headers.get("Content-Encoding", "")
        try:
            body = await decoded(raw, coding, max_bytes)
        except Malformed as error:
            raise SourceInvalid(self.label, str(error)) from error
        return Answer(
            status=_OK, headers=response.headers, url=final, body=body, raw=raw, coding=coding
        )

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        short: bool = False,
    ) -> AsyncIterator[Incoming]:
        """The answer to a request for a file: any status but redirects, its body not yet read.

        A file expected to be `short` (`SHORT_BYTES`) uses a connection for pages. Raises
        `SourceUnavailable` or one of its kinds on entering.
        """
        wanted = {**_FOR_FILE, **headers} if headers else _FOR_FILE

        async def send() -> tuple[Incoming, Lease]:
            return await self._send_for_file(method, url, wanted, short=short)

        response, lease = await with_retries(send, self.limits)
        with lease:
            # A body that has arrived in full holds no connection, however slowly it is read.
            response.on_received(lease.release)
            try:
                yield response
            finally:
                response.release()

    async def _send_for_file(
        self, method: str, url: str, headers: Mapping[str, str], *, short: bool
    ) -> tuple[Incoming, Lease]:
        lease = await (self._for_pages if short else self._for_files).lease()
        try:
            response = await self._send(method, url, headers)
            try:
                self._check_works(response)
                if short and _is_long(method, response, headers):
                    lease.release()
                    lease = await self._for_files.lease()
            except BaseException:
                response.release()
                raise
        except BaseException:
            lease.release()
            raise
        return response, lease

    def _check_works(self, response: Incoming) -> None:
        if response.status == _TOO_MANY_REQUESTS or response.status >= _SERVER_ERRORS:
            raise error_for_status(self.label, response.status, response.headers)

    def chunks(self, incoming: Incoming) -> AsyncIterator[bytes]:
        """The body of a streamed answer. Raises `TransferAborted` if it breaks off."""
        return incoming.chunks(within_s=self.limits.seconds_for_file(incoming.length))

    async def _send(self, method: str, url: str, headers: Mapping[str, str]) -> Incoming:
        """The answer after redirects."""
        if self._offline:
            raise SourceUnavailable(self.label, "this server is offline and sends no requests")
        credentials = self._credentials
        for _ in range(self.limits.redirects + 1):
            response = await self._exchange(method, url, headers, credentials)
            if response.status not in _REDIRECTS:
                return response
            location = response.headers.get("Location")
            if not location:
                return response
            response.release()
            try:
                address = joined(url, location)
            except ValueError as error:
                raise SourceInvalid(self.label, "it redirects to no http(s) address") from error
            url = address.bare
            credentials = credentials_in(address) or self._credentials
        raise SourceInvalid(self.label, f"more than {self.limits.redirects} redirects")

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], credentials: Credentials | None
    ) -> Incoming:
        """The answer of one origin whose circuit is closed; its outcome is recorded."""
        try:
            self._origins.check(url)
            response = await self._request(method, url, headers, credentials)
        except RepositoryError:
            raise
        except Exception as error:
            failure = self._error_for(url, error)
            self._origins.failed(url, failure, connected=was_connected(error))
            raise failure from error
        self._origins.answered(url, response.status)
        return response

    async def _probe(self, url: str, failed: int) -> int:
        """The status of an answer, whose body is not read.

        It may take as long as connecting, twice that after each failed probe, and at most as long
        as any answer: a slow index would never be found to be back otherwise.
        """
        connect_s, idle_s = self.limits.connect_s, self.limits.idle_s
        wait_s = max(connect_s, min(idle_s, connect_s * 2 ** min(failed, _MAX_DOUBLINGS)))
        try:
            async with asyncio.timeout(wait_s):
                response = await self._request("GET", url, _PROBE, self._credentials)
        except TimeoutError as error:
            raise SourceTimeout(self.label, f"no answer within {wait_s:g} s") from error
        except RepositoryError:
            raise
        except Exception as error:
            raise self._error_for(url, error) from error
        response.close()
        return response.status

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], credentials: Credentials | None
    ) -> Incoming:
        """The answer to one request, of any status."""
        if credentials:
            headers = {**headers, **credentials.header_for(url)}
        response = await self._transport.request(method, url, headers)
        return Incoming(response, label=self.label, url=url)

    def _error_for(self, url: str, error: Exception) -> SourceUnavailable:
        try:
            proxy = self._transport.proxy_for(url)
        except ValueError:  # not a valid address
            proxy = None
        return error_for_exception(self.label, error, proxy=str(proxy) if proxy else None)


def _is_long(method: str, response: Incoming, headers: Mapping[str, str]) -> bool:
    """Whether more than a short body follows, e.g. the whole file for a range of it."""
    if method == "HEAD":
        return False
    length = response.length
    if length is None:
        return response.status == _OK and "Range" in headers
    return length > SHORT_BYTES


async def decoded(body: bytes, coding: str, max_bytes: int) -> bytes:
    """The body without its content coding. Raises `Malformed`, also beyond `max_bytes`."""
    if len(body) <= _DECODE_HERE_BYTES and not coding:
        return body
    return await asyncio.to_thread(decode_body, body, coding, max_bytes=max_bytes)
