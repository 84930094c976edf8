"""The one way to other indexes: bounded in time, size, redirects and connections.

Every request goes through `_send`: it follows redirects by hand, so that credentials stay at their
origin and a public index cannot lead us into the private network. An origin that fails is not
asked any more until a probe found it back (`origins.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TypeVar

import aiohttp
import stamina
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
from simple_repository_server.upstream.failures import failure, refusal
from simple_repository_server.upstream.headers import clean_headers, length_in
from simple_repository_server.upstream.limits import Limits
from simple_repository_server.upstream.origins import OnChange, Origins
from simple_repository_server.upstream.pool import Lease, Pool
from simple_repository_server.upstream.transport import SHORT_BYTES, Transport
from simple_repository_server.wire.urls import joined

__all__ = ["Answer", "Incoming", "Limits", "UpstreamClient", "decoded"]

T = TypeVar("T")

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_OK, _NOT_MODIFIED, _NOT_ACCEPTABLE = 200, 304, 406
#: An upstream that wants to be left alone for longer is: the client is told when to come back.
_MAX_WAIT_S = 10
#: Larger bodies are decoded in a thread.
_DECODE_HERE_BYTES = 16 * 1024
#: A probe wants an answer, but nothing of it.
_PROBE = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": "bytes=0-0"}
_DOUBLINGS = 10


class UpstreamClient(SharedLifespan):
    """A client for one index at `url`, called `label` in errors.

    `absent` are further statuses that mean "not there" (some indexes answer 403 for it). An
    `offline` one sends nothing. `egress` is the way out; a `session` that is given sends all
    requests, and is not closed. `on_change` is told when an origin is not asked any more, and when
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
        egress: Egress | None = None,
        session: aiohttp.ClientSession | None = None,
        on_change: OnChange = lambda _place, _reason: None,
    ) -> None:
        self.label = label
        #: Tells apart what is fetched by another client, whose credentials may show something else.
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
        """Raises `ValueError` if certificates cannot be read. Closes all connections."""
        await self._transport.open()
        self._origins.open()
        try:
            yield
        finally:
            await self._origins.close()
            await self._transport.close()

    @property
    def open_circuits(self) -> str:
        """Who is not asked at present, until when and why; empty if everyone is."""
        return self._origins.open_circuits

    @property
    def is_silent(self) -> bool:
        """Whether the index itself is not asked at present, or gave no answer when it last was."""
        return self._origins.is_silent

    async def get(
        self, url: str, *, accept: str, headers: Mapping[str, str], max_bytes: int
    ) -> Answer:
        """A page, complete and decoded; for a 304 or what is not there without its body.

        Raises `SourceUnavailable` or one of its kinds.
        """
        wanted = {"Accept": accept, "Accept-Encoding": ACCEPT_ENCODING, **headers}

        async def get() -> Answer:
            with await self._for_pages.lease():
                return await self._get_once(url, wanted, max_bytes)

        try:
            async with asyncio.timeout(self.limits.page_s):
                return await self._retrying(get)
        except TimeoutError as error:
            raise SourceTimeout(self.label, f"longer than {self.limits.page_s:.0f} s") from error

    async def _get_once(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        response, final = await self._send("GET", url, headers)
        async with response:
            told = clean_headers(response.raw_headers)
            missing = response.status in self._absent
            if missing or response.status == _NOT_MODIFIED:
                status = 404 if missing else _NOT_MODIFIED
                return Answer(status=status, headers=told, url=final, body=b"")
            if response.status == _NOT_ACCEPTABLE and headers["Accept"] != "*/*":
                return await self._get_once(url, {**headers, "Accept": "*/*"}, max_bytes)
            if response.status != _OK:
                raise refusal(self.label, response.status, told)
            raw = await self._read(response, max_bytes)
        coding = told.get("Content-Encoding", "")
        try:
            body = await decoded(raw, coding, max_bytes)
        except Malformed as error:
            raise SourceInvalid(self.label, str(error)) from error
        return Answer(status=_OK, headers=told, url=final, body=body, raw=raw, coding=coding)

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        body = BytesIO()  # what was written to it is taken out without a copy
        room = max_bytes
        try:
            async for part in response.content.iter_any():
                body.write(part)
                room -= len(part)
                if room < 0:
                    break
        except Exception as error:
            raise failure(self.label, error) from error
        if room < 0:
            raise SourceInvalid(self.label, f"a page of more than {max_bytes} bytes")
        return body.getvalue()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        short: bool = False,
    ) -> AsyncIterator[Incoming]:
        """The answer of a request for a file: any status but redirects, its body not yet read.

        What should be `short` (`SHORT_BYTES`) needs no connection of those for files. Raises
        `SourceUnavailable` or one of its kinds on entering.
        """
        wanted = {"Accept": "*/*", "Accept-Encoding": "identity", **(headers or {})}

        async def send() -> tuple[aiohttp.ClientResponse, Lease]:
            return await self._send_for_file(method, url, wanted, short=short)

        response, lease = await self._retrying(send)
        with lease:
            # What has come in full holds no connection any more, however slowly it is read.
            response.content.on_eof(lease.release)
            try:
                yield Incoming(response, label=self.label)
            finally:
                response.release()

    async def _send_for_file(
        self, method: str, url: str, headers: Mapping[str, str], *, short: bool
    ) -> tuple[aiohttp.ClientResponse, Lease]:
        lease = await (self._for_pages if short else self._for_files).lease()
        try:
            response, _ = await self._send(method, url, headers)
            try:
                self._check_works(response)
                if short and _is_long(response, headers):
                    lease.release()
                    lease = await self._for_files.lease()
            except BaseException:
                response.release()
                raise
        except BaseException:
            lease.release()
            raise
        return response, lease

    def _check_works(self, response: aiohttp.ClientResponse) -> None:
        if response.status in (429, *range(500, 600)):
            raise refusal(self.label, response.status, clean_headers(response.raw_headers))

    def chunks(self, incoming: Incoming) -> AsyncIterator[bytes]:
        """The body of a streamed answer. Raises `TransferAborted` if it breaks off."""
        return incoming.chunks(within_s=self.limits.seconds_for_file(incoming.length))

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
            if response.status not in _REDIRECTS:
                return response, url
            location = clean_headers(response.raw_headers).get("Location")
            if not location:
                return response, url
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
    ) -> aiohttp.ClientResponse:
        """One answer of an origin that is asked at present, and counted for it or against it."""
        try:
            self._origins.check(url)
            response = await self._request(method, url, headers, credentials)
        except RepositoryError:
            raise
        except Exception as error:
            told = self._failure(url, error)
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
        except RepositoryError:
            raise
        except Exception as error:
            raise self._failure(url, error) from error
        response.close()
        return response.status

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], credentials: Credentials | None
    ) -> aiohttp.ClientResponse:
        """The answer of one request, whatever it is."""
        own = credentials.header_for(url) if credentials else {}
        return await self._transport.request(method, url, {**headers, **own})

    def _failure(self, url: str, error: Exception) -> SourceUnavailable:
        try:
            proxy = self._transport.proxy_for(url)
        except ValueError:  # no address at all
            proxy = None
        return failure(self.label, error, proxy=str(proxy) if proxy else None)


def _is_long(response: aiohttp.ClientResponse, headers: Mapping[str, str]) -> bool:
    """Whether more comes than should: all of a file from an index that does no ranges, say."""
    if response.method == "HEAD":
        return False
    length = length_in(clean_headers(response.raw_headers))
    if length is None:
        return response.status == _OK and "Range" in headers
    return length > SHORT_BYTES


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
