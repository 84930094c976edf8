"""Core metadata for every wheel, whether or not its source has it."""

import asyncio
from functools import partial
from hashlib import sha256
from weakref import WeakKeyDictionary

import msgspec
from typing_extensions import override

from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.metadata import MetadataStore, note_of
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import (
    Malformed,
    ResourceNotFound,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Emit, MetadataUnreadable, ignore
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import METADATA_TYPE, BytesResource, Resource
from simple_repository_server.transforms.metadata_reading import (
    DOWNLOAD_BYTES,
    MetadataReader,
    read_whole,
)

DEFAULT_MEMORY_BYTES = 32 * 1024 * 1024
_NOTE_BYTES = 200
#: What a resource takes beside its content.
_RESOURCE_BYTES = 600
#: Projects whose notes are counted; with more, all counts and pages are started anew.
_MAX_NOTED = 50_000
_MAX_SIBLING_BYTES = 20 * 1024 * 1024
#: Larger pages are gone through in a thread.
_ANNOUNCE_HERE_FILES = 2_000


class _Unreadable(msgspec.Struct, frozen=True):
    reason: str


class MetadataInjectorRepository(RepositoryContainer):
    """Announces metadata for every wheel of `source`, and has it (PEP 658, 714).

    What the source announces is taken from there; else it is read out of the wheel, from a remote
    one by ranges. It is kept under the wheel's digest (within `memory_bytes`), and its own digest
    announced once known. A wheel whose metadata cannot be read is announced no longer. Where an
    index does no ranges a wheel of up to `download_bytes` is downloaded for it. With `store` what
    was found out outlives the process.
    """

    def __init__(
        self,
        source: Repository,
        *,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        download_bytes: int = DOWNLOAD_BYTES,
        store: MetadataStore | None = None,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(source)
        self._store = store
        self._emit = emit
        self._reader = MetadataReader(download_bytes)
        self._contents: MemoryCache[str, BytesResource] = MemoryCache(memory_bytes)
        #: The digest of a wheel's metadata, or why there is none, by the wheel.
        self._notes: MemoryCache[str, str | _Unreadable] = MemoryCache(memory_bytes // 4)
        #: How often something was noted about a project: its page has to be made again.
        self._noted: dict[ProjectName, int] = {}
        self._pages: WeakKeyDictionary[ProjectPage, tuple[int, ProjectPage | None]]
        self._pages = WeakKeyDictionary()
        self._flight: SingleFlight[str, BytesResource] = SingleFlight()
        self._announcing: SingleFlight[tuple[ProjectPage, int], ProjectPage] = SingleFlight()

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        page = await self.source.get_project_page(project, context=context)
        known = self._known(project, page)
        if known is not None:
            return known
        if self._store is not None and page not in self._pages:
            await self._recall(self._store, page)
        noted = self._noted.get(project, 0)
        if len(page.files) > _ANNOUNCE_HERE_FILES:
            announced = await self._announcing.run((page, noted), partial(self._announced_of, page))
        else:
            announced = self._announce(page)
        # None stands for the page itself, which as a value would keep its own key alive.
        self._pages[page] = noted, None if announced is page else announced
        return announced

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
        key = _key(project, wheel)
        known = self._peek_metadata(key, project, filename)
        if known is not None:
            return known
        return await self._flight.run(key, partial(self._find, project, wheel, context))

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self.source.peek_project_list(context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        page = self.source.peek_project_page(project, context=context)
        return None if page is None else self._known(project, page)

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
        return self._peek_metadata(_key(project, wheel), project, filename)

    @override
    async def _open(self) -> None:
        if self._store is not None:
            await self._store.__aenter__()
        await super()._open()

    @override
    async def _close(self) -> None:
        await self._flight.cancel_all()
        await self._announcing.cancel_all()
        await super()._close()
        if self._store is not None:
            await self._store.__aexit__()

    def _known(self, project: ProjectName, page: ProjectPage) -> ProjectPage | None:
        """The page of the source as it was announced, if nothing was noted about it since."""
        known = self._pages.get(page)
        if known is None or known[0] != self._noted.get(project, 0):
            return None
        return known[1] or page

    async def _announced_of(self, page: ProjectPage) -> ProjectPage:
        return await asyncio.to_thread(self._announce, page)

    def _announce(self, page: ProjectPage) -> ProjectPage:
        files = tuple(self._announced(page.name, file) for file in page.files)
        if all(a is b for a, b in zip(files, page.files, strict=True)):
            return page
        return msgspec.structs.replace(page, files=files)

    def _announced(self, project: ProjectName, file: File) -> File:
        if not file.is_wheel or file.inspected:
            return file
        note = self._notes.get(_key(project, file))
        announcement: object = file.core_metadata or True
        if isinstance(note, _Unreadable):
            announcement = False
        elif note is not None:
            announcement = {"sha256": note}
        if announcement == file.core_metadata:
            return file
        return msgspec.structs.replace(file, core_metadata=announcement)

    def _peek_metadata(
        self, key: str, project: ProjectName, filename: FileName
    ) -> BytesResource | None:
        """What is in memory. Raises `ResourceNotFound` for what is known to be unreadable."""
        if isinstance(self._notes.get(key), _Unreadable):
            raise ResourceNotFound(project, filename)
        return self._contents.get(key)

    async def _find(
        self, project: ProjectName, file: File, context: RequestContext
    ) -> BytesResource:
        key = _key(project, file)
        kept = await self._store.load(project, key) if self._store else None
        if kept is not None:
            head, content = kept
            unreadable = head.unreadable
        else:
            content, unreadable = await self._found(project, file, context)
            if self._store is not None:
                await self._store.save(project, key, content, unreadable=unreadable)
        if unreadable:
            self._note(project, file, _Unreadable(unreadable))
            raise ResourceNotFound(project, f"{file.filename}.metadata")
        digest = sha256(content).hexdigest()
        resource = BytesResource(content, media_type=METADATA_TYPE, sha256=digest)
        self._contents.put(key, resource, len(content) + _RESOURCE_BYTES)
        self._note(project, file, digest)
        return resource

    async def _found(
        self, project: ProjectName, file: File, context: RequestContext
    ) -> tuple[bytes, str]:
        """The metadata as the source has it or the wheel; or why it cannot be read."""
        content = await self._sibling(project, file, context)
        if content is not None:
            return content, ""
        resource = await self.source.get_resource(project, file.filename, context=context)
        try:
            return await self._reader.read(resource, file.filename), ""
        except Malformed as error:
            reason = str(error)
            self._emit(MetadataUnreadable(project=project, file=file.filename, reason=reason))
            return b"", reason or "it is malformed"
        except TransferAborted as error:
            raise SourceUnavailable(f"of {file.filename}", str(error)) from error

    async def _recall(self, store: MetadataStore, page: ProjectPage) -> None:
        """Note what is on disk about the wheels of a page that was not seen before."""
        notes = await store.notes(page.name)
        if not notes:
            return
        for file in page.files:
            key = _key(page.name, file)
            digest = notes.get(note_of(key)) if file.is_wheel else None
            if digest is not None:
                self._note(page.name, file, digest or _Unreadable("it was not, before"))

    async def _sibling(
        self, project: ProjectName, file: File, context: RequestContext
    ) -> bytes | None:
        """What the source itself has for the announced metadata; None if that is no use."""
        if not file.core_metadata:
            return None
        name = FileName(f"{file.filename}.metadata")
        try:
            resource = await self.source.get_resource(project, name, context=context)
            return await read_whole(resource, _MAX_SIBLING_BYTES)
        except (ResourceNotFound, SourceUnavailable, TransferAborted, Malformed):
            return None  # it may still be read out of the wheel

    def _note(self, project: ProjectName, file: File, note: str | _Unreadable) -> None:
        key = _key(project, file)
        announced = file.core_metadata
        if self._notes.get(key) == note or (
            not isinstance(announced, bool) and announced.get("sha256") == note
        ):
            return
        self._notes.put(key, note, _NOTE_BYTES)
        if len(self._noted) >= _MAX_NOTED:
            self._noted.clear()
            self._pages.clear()
        self._noted[project] = self._noted.get(project, 0) + 1


def _wheel_of(page: ProjectPage, filename: FileName) -> File | None:
    """The wheel whose metadata has that name; None if it is up to the source what that is."""
    file = page.find(filename.described)
    if file is None or not file.is_wheel or file.inspected or page.find(filename) is not None:
        return None
    return file


def _key(project: ProjectName, file: File) -> str:
    """A wheel of a project, by its digest, or else by its address.

    The digest alone would not do: it is what an index claims, and one project's index must not be
    able to say what another project's metadata is.
    """
    return f"{project} {file.filename} {file.hashes.get('sha256') or file.url}"
