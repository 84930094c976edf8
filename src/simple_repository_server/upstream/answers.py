"""What an upstream answered: complete, or with a body still to be read."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from io import BytesIO

import aiohttp
import msgspec

from simple_repository_server.errors import SourceInvalid, TransferAborted
from simple_repository_server.upstream.failures import error_for_exception
from simple_repository_server.upstream.headers import clean_headers, length_in

_NOT_MODIFIED = 304
MISSING = frozenset((404, 410))


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer: of success, "not modified" (304) or "not found" (404, 410)."""

    status: int
    headers: Mapping[str, str]
    #: The address it came from, after redirects.
    url: str
    body: bytes
    #: The body as received, in its content coding.
    raw: bytes = b""
    coding: str = ""

    @property
    def missing(self) -> bool:
        """Whether the upstream has no such page."""
        return self.status in MISSING

    @property
    def not_modified(self) -> bool:
        """Whether our copy is still current."""
        return self.status == _NOT_MODIFIED


class Incoming:
    """An answer whose status and headers have arrived, cleaned; its body is not yet read.

    `label` is what errors call its source, `url` the address it came from. Its owner calls
    `release` in the end.
    """

    __slots__ = ("_label", "_response", "headers", "status", "url")

    def __init__(self, response: aiohttp.ClientResponse, *, label: str, url: str) -> None:
        self.status = response.status
        self.headers = clean_headers(response.raw_headers)
        self.url = url
        self._response = response
        self._label = label

    @property
    def length(self) -> int | None:
        """The announced length of the body, in bytes."""
        return length_in(self.headers)

    def on_received(self, call: Callable[[], None]) -> None:
        """Call that when all of the body has arrived, whether or not it was read."""
        self._response.content.on_eof(call)

    def release(self) -> None:
        """Give the connection back; one with a body still to come is closed."""
        self._response.release()

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    async def read(self, max_bytes: int) -> bytes:
        """The whole body. Raises `SourceInvalid` beyond `max_bytes`, `SourceUnavailable`."""
        body = BytesIO()  # `getvalue` makes no copy
        remaining = max_bytes
        try:
            async for part in self._response.content.iter_any():
                body.write(part)
                remaining -= len(part)
                if remaining < 0:
                    break
        except Exception as error:
            raise error_for_exception(self._label, error) from error
        if remaining < 0:
            raise SourceInvalid(self._label, f"a page of more than {max_bytes} bytes")
        return body.getvalue()

    async def chunks(self, *, within_s: float) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `TransferAborted` if it breaks off or takes too long."""
        deadline = time.monotonic() + within_s
        try:
            # Chunks as they were received: `iter_any` would copy them into one.
            async for chunk, _ in self._response.content.iter_chunks():
                if chunk:
                    yield chunk
                if time.monotonic() > deadline:
                    raise TimeoutError  # noqa: TRY301 - reported like any other timeout
        except Exception as error:
            raise TransferAborted(str(error_for_exception(self._label, error))) from error
