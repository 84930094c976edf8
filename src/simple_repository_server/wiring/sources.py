"""From the settings of sources to sources, each with its files on disk where they are cached."""

from typing import Any

from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.config.settings import DirectorySource, IndexSource, Settings, Source
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.model import FilesMode
from simple_repository_server.observe.events import Emit
from simple_repository_server.repository import Repository
from simple_repository_server.sources.local import LocalRepository
from simple_repository_server.sources.local_facts import DigestStore
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.upstream.credentials import Credentials
from simple_repository_server.wire.urls import origin_of
from simple_repository_server.wiring.parts import Parts

#: The budgets of the caches in memory, in 64ths of `--memory`.
WHOLE = 64
#: Rendered pages, small files and known requests (divided in `web/index.py`).
RESPONSES = 28
#: Parsed pages and files of all sources.
PAGES = 17
#: The project lists of all sources.
LISTS = 8
#: The unions of these lists.
UNIONS = 4
#: Metadata and verdicts about it.
METADATA = 5
#: Lookups of files in the cache on disk.
LOOKUPS = 2


def share(settings: Settings, parts: int) -> int:
    """So many 64ths of the memory, in bytes."""
    return settings.memory_bytes * parts // WHOLE


def files_mode(source: Source, settings: Settings) -> FilesMode:
    """How clients get the files of a source."""
    own = source.files if isinstance(source, IndexSource) else None
    return settings.files if own is None else own


class SourceBuilder:
    """Makes the sources of a graph, and what all of them share; `parts` holds them."""

    def __init__(self, settings: Settings, parts: Parts, emit: Emit) -> None:
        self._settings = settings
        self._parts = parts
        self._emit = emit
        self.disk = self._disk()

    def memory(self, name: str, of_64: int) -> MemoryCache[Any, Any]:
        """A budget that all components of one kind share, also with those of the graph before."""
        size = share(self._settings, of_64)
        return self._parts.get((MemoryCache, name, size), lambda: MemoryCache(size))

    def source(self, position: int) -> Repository:
        """The source at that position: one object, however many indexes have it."""
        source = self._settings.sources[position]
        if isinstance(source, DirectorySource):
            return self._directory(position, source)
        index = self._index(position, source)
        files = self._files(source)
        if files is None:
            return index
        offline = self._settings.offline
        return self._parts.get(
            (FileCacheRepository, index, files, offline),
            lambda: FileCacheRepository(index, files, cached_only=offline),
        )

    def _disk(self) -> CacheFolder | None:
        settings = self._settings
        folder, max_bytes, offline = settings.cache, settings.cache_bytes, settings.offline
        if folder is None:
            return None
        return self._parts.get(
            (CacheFolder, folder, max_bytes, offline),
            lambda: CacheFolder(folder, max_bytes=max_bytes, evicts=not offline, emit=self._emit),
        )

    def _files(self, source: IndexSource) -> FileCache | None:
        """Where its files are cached; None: nowhere."""
        settings, disk = self._settings, self.disk
        # Offline, files come from the cache, regardless of `--files`.
        if disk is None or not (
            settings.offline or files_mode(source, settings) is not FilesMode.STREAM
        ):
            return None
        size = share(settings, LOOKUPS)
        return self._parts.get(
            (FileCache, disk, size), lambda: FileCache(disk, memory_bytes=size, emit=self._emit)
        )

    def _index(self, position: int, source: IndexSource) -> Repository:
        from simple_repository_server.cache.policy import CachePolicy

        settings = self._settings
        policy = CachePolicy(
            stale_if_error_s=_first(source.stale_if_error_s, settings.stale_if_error_s),
            stale_while_revalidate_s=_first(
                source.stale_while_revalidate_s, settings.stale_while_revalidate_s
            ),
            offline=settings.offline,
        )
        egress = source.egress or settings.egress
        redirects = files_mode(source, settings) is FilesMode.REDIRECT
        memory = self.memory("pages", PAGES), self.memory("lists", LISTS)
        key = (IndexSource, source.name or position, source, policy, egress, redirects, self.disk)

        def make() -> Repository:
            from simple_repository_server.sources.http import HttpRepository  # slow to import

            credentials = None
            if source.user is not None:
                origin = origin_of(source.url)
                credentials = Credentials(origin, source.user, source.password or "")
            return HttpRepository(
                source.url,
                label=source.label or None,
                name=source.name,
                credentials=credentials,
                limits=source.limits,
                forbidden_means_absent=source.forbidden_means_absent,
                memory=memory[0],
                lists=memory[1],
                redirects=redirects,
                cache=self.disk,
                policy=policy,
                egress=egress,
                emit=self._emit,
            )

        return self._parts.get((*key, *memory), make)

    def _directory(self, position: int, source: DirectorySource) -> Repository:
        memory, path = self.memory("pages", PAGES), self._settings.digests
        key = (DirectorySource, source.name or position, source.path, path, memory)

        def make() -> Repository:
            digests = DigestStore(path, emit=self._emit)
            return LocalRepository(
                source.path, name=source.name, digests=digests, memory=memory, emit=self._emit
            )

        return self._parts.get(key, make)


def _first(own: float | None, default: float) -> float:
    return default if own is None else own
