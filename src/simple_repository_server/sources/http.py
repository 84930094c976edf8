"""A remote index as a repository: its pages cached, revalidated, and served while it is down."""

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from aiohttp import ClientSession
from typing_extensions import override

from simple_repository_server.cache.documents import CachedDocuments
from simple_repository_server.cache.memory import Memory, MemoryCache
from simple_repository_server.cache.policy import CacheEntry, CachePolicy, Verdict
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.errors import (
    InvalidName,
    ProjectNotFound,
    SourceInvalid,
)
from simple_repository_server.model import (
    NO_CONTEXT,
    ProjectList,
    ProjectPage,
    RequestContext,
    SourceState,
)
from simple_repository_server.names import FileName, ProjectName, sorted_unique
from simple_repository_server.observe.availability import Availability
from simple_repository_server.observe.events import (
    Emit,
    EntriesDropped,
    SourceFailed,
    SourceRecovered,
    ignore,
)
from simple_repository_server.repository import Repository
from simple_repository_server.resource import Resource
from simple_repository_server.sources.http_cache import IndexCache, divided
from simple_repository_server.sources.http_fetcher import HttpFetcher
from simple_repository_server.sources.http_resources import RemoteFiles
from simple_repository_server.upstream.client import Answer, Limits, UpstreamClient
from simple_repository_server.upstream.credentials import Credentials, split_credentials
from simple_repository_server.upstream.egress import Egress
from simple_repository_server.wire import pages

DEFAULT_MEMORY_BYTES = 128 * 1024 * 1024
#: The list's name among the pages: no project can have it.
_LIST = ".list"
#: A stale list of all names is served while a new one is fetched: nobody waits for it.
_LIST_STALE_WHILE_REVALIDATE_S = 7 * 24 * 3600.0

S = TypeVar("S", ProjectPage, ProjectList)


class HttpRepository(Repository):
    """The index at `url` (the address of its list, as pip would be given it).

    `user:password@` in the address and `credentials` are sent to its origin only; with either,
    clients are never redirected to its files. `forbidden_means_absent`: read status 403 as "no such
    project", as some indexes mean it. `label` is shown instead of an address that contains a
    secret; then, too, clients get all files from this server. Files name `name` as their source.

    `memory_bytes` is the memory budget; any number of sources may share one, given as `memory`
    instead, and one for the lists of projects, given as `lists`. With `cache` pages outlive the
    process. `policy` says for how long pages may be served. Without `redirects` clients get all
    files from this server.

    `egress` says which proxies and certificates are used. `client` is a session of yours to send
    all requests with, for tests, proxies and instrumentation; it must be open while the repository
    is, and is not closed. This repository still decides timeouts, redirects, retries, the index's
    credentials and the proxies of `egress`; certificates are the session's. Headers and `auth` of
    the session go wherever requests go, other hosts that serve files included, so give credentials
    of the index here instead. The session resolves names a second time, so the guard against
    redirects into private networks does not hold against a name server that changes its answer in
    between (DNS rebinding), nor for names that only the session's own proxy can resolve.
    """

    #: What the cache lists, offline.
    _offline_list = ProjectList(names=())

    def __init__(
        self,
        url: str,
        *,
        label: str | None = None,
        name: str = "",
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        forbidden_means_absent: bool = False,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        memory: MemoryCache[Any, Any] | None = None,
        lists: MemoryCache[Any, Any] | None = None,
        redirects: bool = True,
        cache: CacheFolder | None = None,
        policy: CachePolicy | None = None,
        egress: Egress | None = None,
        client: ClientSession | None = None,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        bare, in_url = split_credentials(url)
        self._base = bare.rstrip("/") + "/"
        self._credentials = credentials or in_url
        self._client_cert = None if egress is None else egress.client_cert
        self.label = label or self._base
        self._policy = policy or CachePolicy()
        self._client = UpstreamClient(
            bare,
            label=self.label,
            credentials=self._credentials,
            limits=limits,
            absent=frozenset({403}) if forbidden_means_absent else frozenset(),
            offline=self._policy.offline,
            egress=egress,
            session=client,
            on_change=self._on_origin_change,
        )
        self._emit, self._clock = emit, clock
        self._availability = Availability(self.label, emit)
        self._cache = self._index_cache(cache, forbidden_means_absent=forbidden_means_absent)
        budgets = divided(memory_bytes, memory, lists)
        direct, files = redirects and not self._secret, budgets.resources
        self._files = RemoteFiles(self._client, name or self.label, direct=direct, memory=files)
        self._pages = self._cached_pages(budgets.pages)
        self._lists = self._cached_lists(budgets.lists)

    @property
    def _secret(self) -> bytes:
        """What clients with access to the cached pages of this index know; b"" if it is public."""
        if self._credentials is not None:
            return self._credentials.secret
        if self._client_cert is not None:
            return os.fsencode(self._client_cert)
        return self._base.encode() if self.label != self._base else b""

    def _index_cache(
        self, folder: CacheFolder | None, *, forbidden_means_absent: bool
    ) -> IndexCache:
        # Where 403 means "absent", entries must not be shared with those who take it for a refusal.
        address = f"{self._base} 403" if forbidden_means_absent else self._base
        return IndexCache(
            folder,
            address,
            secret=self._secret,
            forget=self._forget,
            clock=self._clock,
            emit=self._emit,
        )

    def _cached_pages(
        self, memory: Memory[str, CacheEntry[ProjectPage]]
    ) -> CachedDocuments[ProjectPage]:
        return self._documents(
            parse=self._parse_page,
            url_of=lambda project: f"{self._base}{project}/",
            max_bytes=self._client.limits.page_bytes,
            memory=memory,
            policy=self._policy,
        )

    def _cached_lists(
        self, memory: Memory[str, CacheEntry[ProjectList]]
    ) -> CachedDocuments[ProjectList]:
        return self._documents(
            parse=_parse_list,
            url_of=lambda _: self._base,
            max_bytes=self._client.limits.list_bytes,
            memory=memory,
            policy=msgspec.structs.replace(
                self._policy, min_stale_while_revalidate_s=_LIST_STALE_WHILE_REVALIDATE_S
            ),
        )

    def _documents(
        self,
        *,
        parse: Callable[[str, Answer], S],
        url_of: Callable[[str], str],
        max_bytes: int,
        memory: Memory[str, CacheEntry[S]],
        policy: CachePolicy,
    ) -> CachedDocuments[S]:
        fetcher = HttpFetcher(
            self._client,
            url_of=url_of,
            parse=parse,
            max_bytes=max_bytes,
            swr_s=policy.stale_while_revalidate_s,
            clock=self._clock,
            emit=self._emit,
        )
        return CachedDocuments(
            fetcher,
            policy=policy,
            memory=memory,
            store=self._cache.store,
            writer=self._cache.writer,
            refusals=self._cache.refusal,
            background=self._cache.background,
            clock=self._clock,
            report=self._availability.report,
        )

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        if self._policy.offline:
            return await self._known_projects()
        found = await self._lists.get(_LIST, context)
        if found is None:
            raise SourceInvalid(self.label, "it has no list of projects")
        return found

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        page = await self._pages.get(project, context)
        if page is None:
            raise ProjectNotFound(project)
        return page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        page = await self.get_project_page(project, context=context)
        return self._files.find(page, project, filename)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        entry = None if self._policy.offline else self._lists.peek(_LIST, context)
        return None if entry is None else entry.snapshot

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        entry = self._pages.peek(project, context)
        if entry is None:
            return None
        page = entry.snapshot
        if page is None:
            raise ProjectNotFound(project)
        return page

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        page = self.peek_project_page(project, context=context)
        return None if page is None else self._files.find(page, project, filename)

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        available = self._availability.known
        detail = self._client.open_circuits or self._availability.failure or ""
        if self._policy.offline:
            available, detail = None, "offline: what is in the cache is served"
        elif not detail and self._lists.is_awaited(_LIST):
            detail = "its list of projects is still being fetched"
        return (
            SourceState(
                label=self.label,
                kind="remote index",
                available=available,
                answers=available is False and not self._client.is_silent,
                detail=detail,
            ),
        )

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._cache:
            self._client.identity = f"{self._cache.who} {self.label}"
            async with self._client:
                yield
                await self._pages.close()
                await self._lists.close()

    def _forget(self, project: ProjectName) -> None:
        self._pages.forget(project)

    async def _known_projects(self) -> ProjectList:
        """The projects with a cached page; the same object while they are the same."""
        if self._cache.refusal.holds:
            raise self._pages.unknown(_LIST)
        cached = await self._cache.store.names() if self._cache.store else []
        if (names := sorted_unique(_project_names(cached))) != self._offline_list.names:
            self._offline_list = ProjectList(names=names)
            self._offline_list.freshness.verdict = Verdict.OFFLINE_HIT
        return self._offline_list

    def _parse_page(self, name: str, answer: Answer) -> ProjectPage:
        content_type = answer.headers.get("Content-Type", "")
        project = ProjectName(name)
        found = pages.read_page(answer.body, content_type, project=project, base=answer.url)
        if found.dropped:
            self._emit(
                EntriesDropped(
                    source=self.label,
                    project=project,
                    count=found.dropped,
                    example=found.example,
                )
            )
        page = _without_signatures(found.page)
        page.weight  # noqa: B018 - computed here, in the thread that parses
        return page

    def _on_origin_change(self, place: str, failure: str | None) -> None:
        """The circuit of this index, or of another host it redirects to, has opened or closed."""
        if place != self.label and failure is not None:
            self._emit(SourceFailed(source=place, reason=failure))
        elif place != self.label:
            self._emit(SourceRecovered(source=place))
        if place == self.label or (failure is None and not self._client.open_circuits):
            self._availability.report(failure)


def _project_names(names: Iterable[str]) -> Iterator[ProjectName]:
    """The names that are project names: the list lies there, too, and maybe foreign files."""
    for name in names:
        with contextlib.suppress(InvalidName):
            yield ProjectName(name)


def _parse_list(_: str, answer: Answer) -> ProjectList:
    return pages.read_list(answer.body, answer.headers.get("Content-Type", ""))


def _without_signatures(page: ProjectPage) -> ProjectPage:
    """The page without `gpg-sig`, as we do not serve `.asc` files."""
    if all(file.gpg_sig is None for file in page.files):
        return page
    files = tuple(msgspec.structs.replace(file, gpg_sig=None) for file in page.files)
    return msgspec.structs.replace(page, files=files)
