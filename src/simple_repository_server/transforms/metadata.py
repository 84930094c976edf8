"""Core metadata for every wheel, whether or not its source has it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NoReturn
from weakref import WeakKeyDictionary, ref

import msgspec
from typing_extensions import override

from simple_repository_server.cache.change_watch import watch
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.metadata_policy import usable_until
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.disk.layout import wheel_key
from simple_repository_server.disk.metadata_store import MetadataStore
from simple_repository_server.errors import ResourceNotFound
from simple_repository_server.lifecycle import running
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import BytesResource, Resource
from simple_repository_server.transforms.metadata_finding import Found, MetadataFinder, Missing
from simple_repository_server.transforms.metadata_verdicts import (
    Verdict,
    Verdicts,
    announced_files,
    key_of,
)
from simple_repository_server.transforms.wheel_metadata import DOWNLOAD_BYTES, MetadataReader

DEFAULT_MEMORY_BYTES = 32 * 1024 * 1024
#: Of the memory, the part for verdicts: one on each wheel that was asked for.
_FOR_VERDICTS = 4
#: What metadata takes beside its content.
_CONTENT_BYTES = 1500
#: Larger pages are gone through in a thread.
_ANNOUNCE_HERE_FILES = 2_000


#: As announced, and until when.
_Files = tuple[tuple[File, ...], float | None]


class _Announced(msgspec.Struct, frozen=True):
    """A page as it was announced, and of what that was made."""

    #: Of the verdicts on the project's wheels.
    revision: int
    #: When one of them holds no longer; None: never.
    until: float | None
    #: None: the page itself, which as a value would keep its own key alive.
    page: ProjectPage | None


class MetadataInjectorRepository(RepositoryContainer):
    """Announces metadata for every wheel of `source`, and has it (PEP 658, 714).

    What the source announces is taken from there; else it is read out of the wheel, from a remote
    one by ranges. What is found is remembered within `memory_bytes`, and its own digest announced
    once known. What was read out of bytes that proved to have the wheel's digest holds for ever,
    and with `store` outlives the process; anything else is looked for again (see
    `metadata_finding`). A wheel whose metadata cannot be read, or that its source has no longer,
    is announced no longer. Where an index does no ranges a wheel of up to `download_bytes` is
    downloaded for it.
    """

    def __init__(
        self,
        source: Repository,
        *,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        download_bytes: int = DOWNLOAD_BYTES,
        store: MetadataStore | None = None,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(source)
        self._store = store
        self._clock = clock
        self._emit = emit
        self._watching: asyncio.Task[NoReturn] | None = None
        reader = MetadataReader(download_bytes)
        self._finder = MetadataFinder(source, reader, store=store, clock=clock, emit=emit)
        for_verdicts = memory_bytes // _FOR_VERDICTS
        self._contents: MemoryCache[str, Found] = MemoryCache(memory_bytes - for_verdicts)
        self._verdicts = Verdicts(for_verdicts, clock=clock)
        self._pages: WeakKeyDictionary[ProjectPage, _Announced] = WeakKeyDictionary()
        self._flight: SingleFlight[str, BytesResource] = SingleFlight()
        self._announcing: SingleFlight[tuple[ProjectPage, int], _Files] = SingleFlight()

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        page = await self.source.get_project_page(project, context=context)
        known = self._known(page)
        if known is not None:
            return known
        verdicts = self._verdicts.of(project)
        forgotten = verdicts is not None and not verdicts.recalled
        if self._store is not None and (forgotten or page not in self._pages):
            await self._recall(self._store, page)
        self._pages[page] = made = await self._announced(page)
        return made.page or page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        if not filename.is_metadata:
            return await self.source.get_resource(project, filename, context=context)
        page = await self.source.get_project_page(project, context=context)
        wheel = _wheel_of(page, filename)
        if wheel is None:
            return await self.source.get_resource(project, filename, context=context)
        key = key_of(project, wheel)
        known = self._peek_content(key)
        if known is not None:
            return known
        verdict = self._verdicts.find(page, key)
        # Who asks for what is so just now need not believe what will pass anyway.
        believed = verdict is not None and not (context.revalidate and verdict.until is not None)
        if verdict is not None and verdict.sha256 is None and believed:
            raise verdict.refusal(page, wheel, self._clock())
        return await self._flight.run(key, partial(self._find, page, wheel, context))

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self.source.peek_project_list(context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        page = self.source.peek_project_page(project, context=context)
        return None if page is None else self._known(page)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        if not filename.is_metadata:
            return self.source.peek_resource(project, filename, context=context)
        page = self.source.peek_project_page(project, context=context)
        if page is None:
            return None
        wheel = _wheel_of(page, filename)
        if wheel is None:
            return self.source.peek_resource(project, filename, context=context)
        key = key_of(project, wheel)
        known = self._peek_content(key)
        if known is None:
            verdict = self._verdicts.find(page, key)
            if verdict is not None and verdict.sha256 is None and verdict.until is None:
                raise ResourceNotFound(project, filename)
        return known

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if self._store is not None:
                await stack.enter_async_context(self._store)
            await stack.enter_async_context(super().lifespan())
            if self._store is not None:
                look = watch(self._store.changed, self._forget, self._emit)
                await stack.enter_async_context(running(look))
            yield
            await self._flight.cancel_all()
            await self._announcing.cancel_all()

    def _forget(self, project: ProjectName) -> None:
        """What is in memory of its wheels: what is on disk was changed by hand."""
        self._verdicts.forget(project)
        self._contents.discard_if(lambda key: key.startswith(f"{project} "))
        for page in [page for page in self._pages if page.name == project]:
            del self._pages[page]

    def _known(self, page: ProjectPage) -> ProjectPage | None:
        """The page of the source as it was announced, if nothing was found out about it since."""
        known = self._pages.get(page)
        if known is None:
            return None
        verdicts = self._verdicts.of(page.name)
        if verdicts is not None and verdicts.revision != known.revision:
            return None
        if known.until is not None and self._clock() >= known.until:
            return None
        return known.page or page

    async def _announced(self, page: ProjectPage) -> _Announced:
        verdicts = self._verdicts.of(page.name)
        revision = 0 if verdicts is None else verdicts.revision
        make = partial(announced_files, page, verdicts, self._clock())
        if len(page.files) > _ANNOUNCE_HERE_FILES:
            work = partial(asyncio.to_thread, make)
            files, until = await self._announcing.run((page, revision), work)
        else:
            files, until = make()
        before = self._pages.get(page)
        if all(a is b for a, b in zip(files, page.files, strict=True)):
            return _Announced(revision, until, None)
        if before is not None and before.page is not None and before.page.files == files:
            return _Announced(revision, until, before.page)
        return _Announced(revision, until, msgspec.structs.replace(page, files=files))

    def _peek_content(self, key: str) -> BytesResource | None:
        """What is in memory, and counts."""
        found = self._contents.get(key)
        if found is None or (found.until is not None and self._clock() >= found.until):
            return None
        return found.resource

    async def _find(self, page: ProjectPage, file: File, context: RequestContext) -> BytesResource:
        key = key_of(page.name, file)
        before = self._contents.get(key)
        found = await self._finder.find(page.name, file, key, before=before, context=context)
        if isinstance(found, Missing):
            # What may pass may have passed on the next page.
            about = None if found.until is None else ref(page)
            verdict = Verdict(
                reason=found.reason, absent=found.absent, until=found.until, page=about
            )
            self._contents.discard(key)
            self._verdicts.add(page.name, key, verdict)
            raise verdict.refusal(page, file, self._clock())
        self._contents.put(key, found, len(found.resource.content) + _CONTENT_BYTES)
        self._verdicts.add(page.name, key, Verdict(sha256=found.resource.sha256, until=found.until))
        return found.resource

    async def _recall(self, store: MetadataStore, page: ProjectPage) -> None:
        """Take up what is on disk about the wheels of a page that was not seen before."""
        notes = await store.digests(page.name)
        now = self._clock()
        for file in page.files if notes else ():
            key = key_of(page.name, file)
            head, digest = notes.get(wheel_key(key), (None, "")) if file.is_wheel else (None, "")
            until = usable_until(head) if head is not None else 0.0
            if head is None or (until is not None and until <= now):
                continue
            reason = head.unreadable
            self._verdicts.add(
                page.name,
                key,
                Verdict(sha256=None if reason else digest, reason=reason, absent=True, until=until),
            )
        verdicts = self._verdicts.of(page.name)
        if verdicts is not None:
            verdicts.recalled = True


def _wheel_of(page: ProjectPage, filename: FileName) -> File | None:
    """The wheel whose metadata has that name; None if it is up to the source what that is."""
    file = page.find(filename.distribution)
    if file is None or not file.is_wheel or file.inspected or page.find(filename) is not None:
        return None
    return file
