"""Another index as a repository: pages kept, confirmed when stale, served on when it is down."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import msgspec
from typing_extensions import override

from simple_repository_server.cache.freshness import is_fresh, lifetime_s
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import (
    Malformed,
    ProjectNotFound,
    ResourceNotFound,
    SourceInvalid,
    SourceUnavailable,
)
from simple_repository_server.model import (
    NO_CONTEXT,
    Freshness,
    ProjectList,
    ProjectPage,
    RequestContext,
    SourceState,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import (
    Emit,
    EntriesDropped,
    SourceFailed,
    SourceRecovered,
    ignore,
)
from simple_repository_server.repository import Repository
from simple_repository_server.resource import Resource
from simple_repository_server.upstream.client import Answer, Limits, UpstreamClient
from simple_repository_server.upstream.credentials import Credentials, split_credentials
from simple_repository_server.upstream.resource import RemoteResource
from simple_repository_server.wire import pages

S = TypeVar("S", ProjectPage, ProjectList)
R = TypeVar("R")

DEFAULT_MEMORY_BYTES = 128 * 1024 * 1024
#: How long "there is no such project" is believed.
_MISSING_LIFETIME_S = 10.0
#: How long after a failure a stale page is served without asking again.
_STALE_RETRY_S = 5.0
#: How old a stale page may get: after that, no answer is better.
_MAX_STALE_S = 7 * 24 * 3600.0
#: How often a client can make us ask upstream with `no-cache`.
_REVALIDATE_AFTER_S = 1.0
#: Larger pages are read in a thread.
_READ_HERE_BYTES = 50_000

_LIST = ""


class _Kept(msgspec.Struct, Generic[S], kw_only=True):
    """What an index said last, with what is needed to ask again."""

    snapshot: S | None
    freshness: Freshness
    validators: dict[str, str]
    digest: bytes
    retry_at: float = 0.0


class HttpRepository(Repository):
    """The index at `url` (the address of its list, as pip would be given it).

    `user:password@` in the address and `credentials` are sent to its origin only; with either, its
    files are never left to clients to fetch. `forbidden_means_absent`: read status 403 as "no such
    project", as some indexes mean it. `memory_bytes` bounds the pages kept.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        forbidden_means_absent: bool = False,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        bare, in_url = split_credentials(url)
        self._base = bare.rstrip("/") + "/"
        self._credentials = credentials or in_url
        self.label = self._base
        self._client = UpstreamClient(
            bare,
            label=self.label,
            credentials=self._credentials,
            limits=limits,
            absent=frozenset({403}) if forbidden_means_absent else frozenset(),
        )
        self._pages: MemoryCache[str, _Kept[ProjectPage]] = MemoryCache(memory_bytes)
        self._list: _Kept[ProjectList] | None = None
        self._page_flight: SingleFlight[str, _Kept[ProjectPage]] = SingleFlight()
        self._list_flight: SingleFlight[str, _Kept[ProjectList]] = SingleFlight()
        self._clock = clock
        self._emit = emit
        self._failed_because: str | None = None
        self._asked = False

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        kept = self._list
        if kept is None or not self._usable(kept, context):
            kept = self._list = await self._list_flight.run(_LIST, self._refresh_list)
        if kept.snapshot is None:
            raise SourceInvalid(self.label, "it has no list of projects")
        return kept.snapshot

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        kept = self._pages.get(project)
        if kept is None or not self._usable(kept, context):
            kept = await self._page_flight.run(project, partial(self._refresh_page, project))
        if kept.snapshot is None:
            raise ProjectNotFound(project)
        return kept.snapshot

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        page = await self.get_project_page(project, context=context)
        resource = partial(
            RemoteResource,
            self._client,
            project=project,
            filename=filename,
            direct=self._credentials is None,
        )
        if file := page.find(filename):
            return resource(file.url, size=file.size, hashes=file.hashes)
        file = page.find(filename.described)
        if file is None or not file.core_metadata:
            raise ResourceNotFound(project, filename)
        # PEP 658: the suffix belongs to the path, so before a query.
        path, question, query = file.url.partition("?")
        hashes = {} if file.core_metadata is True else file.core_metadata
        return resource(f"{path}.metadata{question}{query}", hashes=hashes)

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        return (
            SourceState(
                label=self.label,
                kind="remote index",
                available=self._failed_because is None if self._asked else None,
                detail=self._failed_because or "",
            ),
        )

    @override
    async def _open(self) -> None:
        await self._client.open()

    @override
    async def _close(self) -> None:
        await self._page_flight.cancel_all()
        await self._list_flight.cancel_all()
        await self._client.close()

    def _usable(self, kept: _Kept[S], context: RequestContext) -> bool:
        now = self._clock()
        if kept.retry_at:
            return now < kept.retry_at
        freshness = kept.freshness
        lifetime = freshness.lifetime_s
        if kept.snapshot is None:
            lifetime = _MISSING_LIFETIME_S
        if context.revalidate:
            lifetime = min(lifetime, _REVALIDATE_AFTER_S)
        return is_fresh(validated_at=freshness.validated_at, lifetime=lifetime, now=now)

    async def _refresh_page(self, project: ProjectName) -> _Kept[ProjectPage]:
        def read(answer: Answer) -> ProjectPage:
            content_type = answer.headers.get("Content-Type", "")
            found = pages.read_page(answer.body, content_type, project=project, base=answer.url)
            if found.dropped:
                count, example = len(found.dropped), found.dropped[0]
                self._emit(
                    EntriesDropped(source=self.label, project=project, count=count, example=example)
                )
            return _without_signatures(found.page)

        previous = self._pages.get(project)
        url, limit = f"{self._base}{project}/", self._client.limits.page_bytes
        kept = await self._refresh(url, limit, previous, read)
        weight = 500 if kept.snapshot is None else kept.snapshot.weight
        self._pages.put(project, kept, weight)
        return kept

    async def _refresh_list(self) -> _Kept[ProjectList]:
        def read(answer: Answer) -> ProjectList:
            return pages.read_list(answer.body, answer.headers.get("Content-Type", ""))

        limit = self._client.limits.list_bytes
        return await self._refresh(self._base, limit, self._list, read)

    async def _refresh(
        self, url: str, max_bytes: int, previous: _Kept[S] | None, read: Callable[[Answer], S]
    ) -> _Kept[S]:
        """What the index says now; what it said before, marked as stale, if it cannot be asked."""
        try:
            kept = await self._ask(url, max_bytes, previous, read)
        except SourceUnavailable as error:
            self._note(error.reason)
            if previous is None or not self._may_serve_stale(previous):
                raise
            previous.freshness.stale_because = str(error)
            previous.retry_at = self._clock() + _STALE_RETRY_S
            return previous
        self._note(None)
        return kept

    async def _ask(
        self, url: str, max_bytes: int, previous: _Kept[S] | None, read: Callable[[Answer], S]
    ) -> _Kept[S]:
        validators = previous.validators if previous and previous.snapshot else {}
        answer = await self._client.get(
            url, accept=pages.ACCEPT, headers=validators, max_bytes=max_bytes
        )
        before = previous.freshness.lifetime_s if answer.not_modified and previous else None
        lifetime = lifetime_s(answer.headers, before=before)
        freshness = Freshness(validated_at=self._clock(), lifetime_s=lifetime)
        if answer.missing:
            return _Kept(snapshot=None, freshness=freshness, validators={}, digest=b"")
        if answer.not_modified:
            if previous is None or previous.snapshot is None:
                raise SourceInvalid(self.label, "status 304, though nothing was asked for again")
            return _confirmed(previous, freshness)
        digest = await _in_thread_if_large(answer, _digest)
        kept_validators = _validators(answer)
        if previous is not None and previous.digest == digest:
            previous.validators = kept_validators
            return _confirmed(previous, freshness)
        snapshot = await self._read(answer, read)
        snapshot = msgspec.structs.replace(snapshot, freshness=freshness)
        return _Kept(
            snapshot=snapshot, freshness=freshness, validators=kept_validators, digest=digest
        )

    async def _read(self, answer: Answer, read: Callable[[Answer], S]) -> S:
        try:
            return await _in_thread_if_large(answer, read)
        except Malformed as error:
            raise SourceInvalid(self.label, str(error)) from error

    def _may_serve_stale(self, kept: _Kept[S]) -> bool:
        age = self._clock() - kept.freshness.validated_at
        return kept.snapshot is not None and age < _MAX_STALE_S

    def _note(self, failed_because: str | None) -> None:
        before, self._failed_because, self._asked = self._failed_because, failed_because, True
        if failed_because is not None and before is None:
            self._emit(SourceFailed(source=self.label, reason=failed_because))
        elif failed_because is None and before is not None:
            self._emit(SourceRecovered(source=self.label))


async def _in_thread_if_large(answer: Answer, work: Callable[[Answer], R]) -> R:
    if len(answer.body) <= _READ_HERE_BYTES:
        return work(answer)
    return await asyncio.to_thread(work, answer)


def _digest(answer: Answer) -> bytes:
    """The body and where it came from, as relative links depend on that."""
    hasher = hashlib.sha256(answer.url.encode())
    hasher.update(answer.body)
    return hasher.digest()


def _without_signatures(page: ProjectPage) -> ProjectPage:
    """The page without what it says of `.asc` files, as those are not served through us."""
    if all(file.gpg_sig is None for file in page.files):
        return page
    files = tuple(msgspec.structs.replace(file, gpg_sig=None) for file in page.files)
    return msgspec.structs.replace(page, files=files)


def _confirmed(kept: _Kept[S], freshness: Freshness) -> _Kept[S]:
    """The same snapshot, whose own freshness now says what the new answer says."""
    kept.freshness.validated_at = freshness.validated_at
    kept.freshness.lifetime_s = freshness.lifetime_s
    kept.freshness.stale_because = None
    kept.retry_at = 0.0
    return kept


def _validators(answer: Answer) -> dict[str, str]:
    names = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
    return {names[name]: answer.headers[name] for name in names if name in answer.headers}
