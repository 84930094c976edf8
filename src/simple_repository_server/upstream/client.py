"""The one way to other indexes: bounded in time, size, redirects and connections.

Every request goes through `_send`: it follows redirects by hand, so that credentials stay at their
origin and a public index cannot lead us into the private network. An origin that fails is not
asked any more until a probe found it back (`origins.py`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TypeVar
from urllib.parse import urljoin

import aiohttp
import msgspec
import stamina
from yarl import URL

from simple_repository_server.errors import (
    Malformed,
    RepositoryError,
    SourceInvalid,
    SourceTimeout,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.upstream.addresses import GuardedResolver
from simple_repository_server.upstream.breaker import Breaker
from simple_repository_server.upstream.credentials import Credentials, split_credentials
from simple_repository_server.upstream.decoding import ACCEPT_ENCODING, decode_body
from simple_repository_server.upstream.failures import failure, refusal
from simple_repository_server.upstream.origins import OnChange, Origins
from simple_repository_server.version import __version__
from simple_repository_server.wire.urls import legal_reference, origin_of

T = TypeVar("T")

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_OK, _NOT_MODIFIED, _NOT_ACCEPTABLE = 200, 304, 406
_MISSING = frozenset((404, 410))
_READ_BYTES = 256 * 1024
#: An upstream that wants to be left alone for longer is: the client is told when to come back.
_MAX_WAIT_S = 10
#: Larger bodies are decoded in a thread.
_DECODE_HERE_BYTES = 16 * 1024
#: A probe wants an answer, but nothing of it.
_PROBE = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": "bytes=0-0"}
_DOUBLINGS = 10
_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream may cost: in seconds, bytes and numbers."""

    connect_s: float = 5.0
    #: The longest silence while an answer arrives.
    idle_s: float = 30.0
    #: A whole page, retries included.
    page_s: float = 60.0
    #: A whole file.
    file_s: float = 3600.0
    #: A page, and the list of all projects, after decoding. A public index's list has about 40 MB.
    page_bytes: int = 64 * 1024 * 1024
    list_bytes: int = 256 * 1024 * 1024
    redirects: int = 10
    connections: int = 100
    attempts: int = 3
    backoff_s: float = 0.2
    #: An origin is not asked any more after so many requests in a row without any answer, or
    #: different addresses with a status of 5xx.
    failures: int = 3
    #: How long until it is probed then: doubled each time that fails, up to the longest.
    probe_first_s: float = 1.0
    probe_longest_s: float = 30.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer: of success, "not modified" (304) or "not there" (404, 410)."""

    status: int
    headers: Mapping[str, str]
    #: Where it came from in the end.
    url: str
    body: bytes
    #: The body as it came, in its content coding.
    raw: bytes = b""
    coding: str = ""

    @property
    def missing(self) -> bool:
        """Whether it says that there is no such thing."""
        return self.status in _MISSING

    @property
    def not_modified(self) -> bool:
        """Whether it says that what we have is still right."""
        return self.status == _NOT_MODIFIED


class UpstreamClient:
    """A client for one index at `url`, called `label` in errors; an asynchronous context manager.

    `absent` are further statuses that mean "not there" (some indexes answer 403 for it). An
    `offline` one sends nothing. `on_change` is told when an origin is not asked any more, and when
    it is again.
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
        on_change: OnChange = lambda _place, _reason: None,
    ) -> None:
        self.label = label
        #: Tells apart what is fetched by another client, whose credentials may show something else.
        self.identity = label
        self.limits = limits or Limits()
        self._origins = Origins(
            url,
            label=label,
            pristine=Breaker(
                open_after=self.limits.failures,
                first_s=self.limits.probe_first_s,
                longest_s=self.limits.probe_longest_s,
            ),
            probe=self._probe,
            on_change=on_change,
        )
        self._absent = _MISSING | absent
        self._offline = offline
        self._credentials = credentials
        self._host = origin_of(url)[1]
        self._session: aiohttp.ClientSession | None = None
        self._resolver: GuardedResolver | None = None

    async def open(self) -> None:
        """Make ready to send requests."""
        self._origins.open()
        self._resolver = GuardedResolver(self._host)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self.limits.connections, resolver=self._resolver, keepalive_timeout=30
            ),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self.limits.connect_s, sock_read=self.limits.idle_s
            ),
            headers={"User-Agent": f"simple-repository-server/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
        )

    async def close(self) -> None:
        """Stop probing and close all connections."""
        await self._origins.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def not_asked(self) -> str:
        """Who is not asked at present, until when and why; empty if everyone is."""
        return self._origins.not_asked

    async def get(
        self, url: str, *, accept: str, headers: Mapping[str, str], max_bytes: int
    ) -> Answer:
        """A page, complete and decoded; for a 304 or what is not there without its body.

        Raises `SourceUnavailable` or one of its kinds.
        """
        wanted = {"Accept": accept, "Accept-Encoding": ACCEPT_ENCODING, **headers}
        try:
            async with asyncio.timeout(self.limits.page_s):
                return await self._retrying(lambda: self._get_once(url, wanted, max_bytes))
        except TimeoutError as error:
            raise SourceTimeout(self.label, f"longer than {self.limits.page_s:.0f} s") from error

    async def _get_once(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        response, final = await self._send("GET", url, headers)
        async with response:
            missing = response.status in self._absent
            if missing or response.status == _NOT_MODIFIED:
                status = 404 if missing else _NOT_MODIFIED
                return Answer(status=status, headers=response.headers, url=final, body=b"")
            if response.status == _NOT_ACCEPTABLE and headers["Accept"] != "*/*":
                return await self._get_once(url, {**headers, "Accept": "*/*"}, max_bytes)
            if response.status != _OK:
                raise refusal(self.label, response.status, response.headers)
            raw = await self._read(response, max_bytes)
        coding = response.headers.get("Content-Encoding", "")
        try:
            body = await decoded(raw, coding, max_bytes)
        except Malformed as error:
            raise SourceInvalid(self.label, str(error)) from error
        return Answer(
            status=_OK, headers=response.headers, url=final, body=body, raw=raw, coding=coding
        )

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        body = BytesIO()  # what was written to it is taken out without a copy
        room = max_bytes
        try:
            async for part in response.content.iter_any():
                body.write(part)
                room -= len(part)
                if room < 0:
                    raise SourceInvalid(self.label, f"a page of more than {max_bytes} bytes")
        except _ERRORS as error:
            raise failure(self.label, error) from error
        return body.getvalue()

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer of a request for a file: any status but redirects, its body not yet read.

        Raises `SourceUnavailable` or one of its kinds on entering.
        """
        wanted = {"Accept": "*/*", "Accept-Encoding": "identity", **(headers or {})}

        async def send() -> aiohttp.ClientResponse:
            response, _ = await self._send(method, url, wanted)
            if response.status in (429, *range(500, 600)):
                response.release()
                raise refusal(self.label, response.status, response.headers)
            return response

        response = await self._retrying(send)
        try:
            yield response
        finally:
            response.release()

    async def chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body of a streamed answer. Raises `TransferAborted` if it breaks off."""
        deadline = time.monotonic() + self.limits.file_s
        try:
            async for chunk in response.content.iter_any():
                yield chunk
                if time.monotonic() > deadline:
                    raise TimeoutError
        except _ERRORS as error:
            raise TransferAborted(str(failure(self.label, error))) from error

    async def _retrying(self, work: Callable[[], Awaitable[T]]) -> T:
        async for attempt in stamina.retry_context(
            on=_worth_retrying,
            attempts=self.limits.attempts,
            timeout=self.limits.page_s,
            wait_initial=self.limits.backoff_s,
            wait_max=10 * self.limits.backoff_s,
            wait_jitter=self.limits.backoff_s,
        ):
            with attempt:
                return await work()
        raise AssertionError("unreachable")  # pragma: no cover

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> tuple[aiohttp.ClientResponse, str]:
        """The answer after redirects, and the address it came from."""
        if self._offline:
            raise SourceUnavailable(self.label, "this server is offline, and asks no index")
        credentials = self._credentials
        for _ in range(self.limits.redirects + 1):
            response = await self._exchange(method, url, headers, credentials)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response, url
            response.release()
            try:
                url, in_location = split_credentials(urljoin(url, legal_reference(location) or ":"))
            except ValueError as error:
                raise SourceInvalid(self.label, "it redirects to no http(s) address") from error
            credentials = in_location or self._credentials
        raise SourceInvalid(self.label, f"more than {self.limits.redirects} redirects")

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], credentials: Credentials | None
    ) -> aiohttp.ClientResponse:
        """One answer of an origin that is asked at present, and counted for it or against it."""
        try:
            self._origins.check(url)
            response = await self._request(method, url, headers, credentials)
        except _ERRORS as error:
            told = failure(self.label, error)
            self._origins.failed(url, told)
            raise told from error
        self._origins.answered(url, response.status)
        return response

    async def _probe(self, url: str, in_vain: int) -> int:
        """The status of an answer, whose body is not read.

        It may take as long as a connection, twice that after each one in vain, in the end as long
        as any answer: an index that is slow would never be found to be back otherwise.
        """
        connect_s, idle_s = self.limits.connect_s, self.limits.idle_s
        wait_s = max(connect_s, min(idle_s, connect_s * 2 ** min(in_vain, _DOUBLINGS)))
        try:
            async with asyncio.timeout(wait_s):
                response = await self._request("GET", url, _PROBE, self._credentials)
        except TimeoutError as error:
            raise SourceTimeout(self.label, f"no answer within {wait_s:g} s") from error
        except _ERRORS as error:
            raise failure(self.label, error) from error
        response.close()
        return response.status

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], credentials: Credentials | None
    ) -> aiohttp.ClientResponse:
        """The answer of one request, whatever it is. Raises one of `_ERRORS` without any."""
        if self._session is None or self._resolver is None:
            raise RepositoryError(
                f"The repository {self.label} is not open: use it in `async with`, or serve it."
            )
        own = credentials.header_for(url) if credentials else {}
        await self._resolver.check_literal(origin_of(url)[1])
        return await self._session.request(
            method, URL(url, encoded=True), headers={**headers, **own}, allow_redirects=False
        )


def _worth_retrying(error: Exception) -> bool | float:
    if not isinstance(error, SourceUnavailable) or not error.transient:
        return False
    if error.retry_after_s is None:
        return True
    return float(error.retry_after_s) if error.retry_after_s <= _MAX_WAIT_S else False


async def decoded(body: bytes, coding: str, max_bytes: int) -> bytes:
    """The body without its content coding. Raises `Malformed`, also beyond `max_bytes`."""
    if len(body) <= _DECODE_HERE_BYTES and not coding:
        return body
    return await asyncio.to_thread(decode_body, body, coding, max_bytes=max_bytes)
