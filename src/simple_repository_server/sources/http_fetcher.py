"""One kind of document of a remote index: the request for it, and the answer parsed."""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from simple_repository_server.cache.background import internal_failure
from simple_repository_server.cache.fetcher import Fetched
from simple_repository_server.cache.freshness import lifetime_s, stale_while_revalidate_s
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.errors import RepositoryError, SourceInvalid
from simple_repository_server.model import ProjectList, ProjectPage
from simple_repository_server.observe.events import Emit
from simple_repository_server.upstream.client import Answer, UpstreamClient, decoded
from simple_repository_server.wire import pages

S = TypeVar("S", ProjectPage, ProjectList)

#: Response headers, and the request headers that make a request conditional on them.
_VALIDATORS = (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"))


class HttpFetcher(Generic[S]):
    """Requests documents through `client`, and parses them by `parse`.

    `url_of` is the address of a name, `clock` what answers are dated by, `swr_s` the
    stale-while-revalidate time where the index does not state one. Exceptions that are defects go
    to `emit`.
    """

    def __init__(
        self,
        client: UpstreamClient,
        *,
        url_of: Callable[[str], str],
        parse: Callable[[str, Answer], S],
        max_bytes: int,
        swr_s: float = 0.0,
        clock: Callable[[], float],
        emit: Emit,
    ) -> None:
        self._client = client
        self._url_of = url_of
        self._parse: Callable[[str, Answer], S] = parse
        self._max_bytes = max_bytes
        self._swr_s = swr_s
        self._clock = clock
        self._emit = emit

    @property
    def label(self) -> str:
        """What errors call the index."""
        return self._client.label

    async def fetch(self, name: str, known: PageHead | None) -> Fetched:
        """What the index answers, conditionally if the `known` document has validators.

        Raises `SourceUnavailable` or one of its kinds.
        """
        url, validators = self._url_of(name), known.validators if known is not None else {}
        answer = await self._client.get(
            url, accept=pages.ACCEPT, headers=validators, max_bytes=self._max_bytes
        )
        now = self._clock()
        if answer.missing:
            return Fetched(head=PageHead(validated_at=now, marker="missing"))
        if answer.not_modified:
            if known is None or not validators:
                reason = "status 304 to a request that was not conditional"
                raise SourceInvalid(self.label, reason)
            lifetime = lifetime_s(answer.headers, before=known.lifetime_s)
            head = msgspec.structs.replace(
                known, validated_at=now, lifetime_s=lifetime, expired=False
            )
            return Fetched(head=head, not_modified=True)
        head = self._head_of(answer, url, now)
        return Fetched(head=head, body=answer.body, raw=answer.raw)

    async def decode(self, head: PageHead, raw: bytes) -> bytes:
        """The body of a stored document without its content coding. Raises `Malformed`."""
        return await decoded(raw, head.coding, self._max_bytes)

    def parse(self, name: str, head: PageHead, body: bytes) -> S:
        """The snapshot. Blocks while it computes. Raises `Malformed`."""
        headers = {"Content-Type": head.content_type}
        url = head.url or self._url_of(name)
        return self._parse(name, Answer(status=200, headers=headers, url=url, body=body))

    def unexpected(self, error: Exception) -> SourceInvalid:
        """What to raise for an exception that is a defect, which this reports with a traceback."""
        if not isinstance(error, RepositoryError):
            self._emit(internal_failure(f"the answer of {self.label} could not be parsed", error))
        return SourceInvalid(self.label, "its answer cannot be parsed")

    def _head_of(self, answer: Answer, url: str, now: float) -> PageHead:
        headers = answer.headers
        return PageHead(
            # Not the address of the page itself, which may have a secret in it.
            url="" if answer.url == url else answer.url,
            content_type=headers.get("Content-Type", ""),
            coding=answer.coding,
            validators={
                condition: headers[validator]
                for validator, condition in _VALIDATORS
                if validator in headers
            },
            validated_at=now,
            lifetime_s=lifetime_s(headers),
            stale_while_revalidate_s=stale_while_revalidate_s(headers, default=self._swr_s),
        )
