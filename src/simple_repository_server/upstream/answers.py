"""What an upstream answered: complete, or with a body that is still on its way."""

import time
from collections.abc import AsyncIterator, Mapping
from functools import cached_property

import aiohttp
import msgspec

from simple_repository_server.errors import TransferAborted
from simple_repository_server.upstream.failures import failure
from simple_repository_server.upstream.headers import clean_headers, length_in

_NOT_MODIFIED = 304
MISSING = frozenset((404, 410))


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
        return self.status in MISSING

    @property
    def not_modified(self) -> bool:
        """Whether it says that what we have is still right."""
        return self.status == _NOT_MODIFIED


class Incoming:
    """An answer whose head is here: its status and headers are clean, its body not yet read.

    `label` is what errors call its source.
    """

    def __init__(self, response: aiohttp.ClientResponse, *, label: str) -> None:
        self.status = response.status
        self._response = response
        self._label = label

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The headers as printable ASCII."""
        return clean_headers(self._response.raw_headers)

    @property
    def length(self) -> int | None:
        """How long the body says it is."""
        return length_in(self.headers)

    async def chunks(self, *, within_s: float) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `TransferAborted` if it breaks off, or takes too long."""
        deadline = time.monotonic() + within_s
        try:
            # Chunks as they were received: `iter_any` would copy them into one.
            async for chunk, _ in self._response.content.iter_chunks():
                if chunk:
                    yield chunk
                if time.monotonic() > deadline:
                    raise TimeoutError  # noqa: TRY301 - it is told like any other timeout
        except Exception as error:
            raise TransferAborted(str(failure(self._label, error))) from error
