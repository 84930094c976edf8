"""Builds the application from settings: the only module that knows all components.

The order of the wrappers, outermost first: metadata → priority → files on disk → the sources.
"""

from typing import Any

from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.config.settings import DirectorySource, IndexSource, Settings
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.metadata_store import MetadataStore
from simple_repository_server.model import FilesMode
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.observe.events import Emit
from simple_repository_server.repository import Repository
from simple_repository_server.sources.local import LocalRepository
from simple_repository_server.sources.local_facts import DigestStore
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.transforms.metadata import MetadataInjectorRepository
from simple_repository_server.upstream.credentials import Credentials
from simple_repository_server.web.hosts import HostRule
from simple_repository_server.web.index import IndexApp
from simple_repository_server.wire.urls import origin_of

#: The budgets of the caches in memory, in 64ths of `--memory`.
_WHOLE = 64
#: Rendered pages, small files and known requests (divided in `web/index.py`).
_RESPONSES = 28
#: Parsed pages and files of all sources (divided among them, and in `sources/`).
_PAGES = 17
#: The project lists of all sources.
_LISTS = 8
#: The union of these lists.
_UNION = 4
#: Metadata and verdicts about it.
_METADATA = 5
#: Lookups of files in the cache on disk.
_LOOKUPS = 2


def build_app(settings: Settings, emit: Emit, *, hosts: HostRule | None = None) -> IndexApp:
    """The ASGI application for the settings; `hosts` decides which host names are accepted."""
    return IndexApp(
        build_repository(settings, emit),
        files=settings.files,
        memory_bytes=_share(settings, _RESPONSES),
        small_file_bytes=settings.small_file_bytes,
        hosts=hosts,
        debug_headers=settings.debug_headers,
        audit=AuditLog(settings.audit, emit=emit) if settings.audit else None,
        emit=emit,
    )


def build_repository(settings: Settings, emit: Emit) -> Repository:
    """The repository for the settings."""
    disk = None
    if settings.cache is not None:
        disk = CacheFolder(
            settings.cache,
            max_bytes=settings.cache_bytes,
            evicts=not settings.offline,
            emit=emit,
        )
    files = None
    # Offline, files come from the cache, regardless of `--files`.
    if disk and (settings.offline or settings.files is not FilesMode.STREAM):
        files = FileCache(disk, memory_bytes=_share(settings, _LOOKUPS), emit=emit)
    of_source = _share(settings, _PAGES) // len(settings.sources)
    lists: MemoryCache[Any, Any] = MemoryCache(_share(settings, _LISTS))
    sources: list[Repository] = []
    for source in settings.sources:
        if isinstance(source, IndexSource):
            index: Repository = _index(source, settings, of_source, lists, disk, emit)
            if files:
                index = FileCacheRepository(index, files, cached_only=settings.offline)
            sources.append(index)
        else:
            sources.append(_directory(source, settings, of_source, emit))
    combined = sources[0]
    if len(sources) > 1:
        list_bytes = _share(settings, _UNION)
        combined = PrioritySelectedProjectsRepository(sources, list_bytes=list_bytes, emit=emit)
    return MetadataInjectorRepository(
        combined,
        memory_bytes=_share(settings, _METADATA),
        store=MetadataStore(disk) if disk else None,
        emit=emit,
    )


def _share(settings: Settings, parts: int) -> int:
    return settings.memory_bytes * parts // _WHOLE


def _index(
    source: IndexSource,
    settings: Settings,
    memory_bytes: int,
    lists: MemoryCache[Any, Any],
    disk: CacheFolder | None,
    emit: Emit,
) -> Repository:
    from simple_repository_server.cache.policy import CachePolicy
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
        forbidden_means_absent=source.forbidden_means_absent,
        memory_bytes=memory_bytes,
        lists=lists,
        cache=disk,
        policy=CachePolicy(
            stale_if_error_s=settings.stale_if_error_s,
            stale_while_revalidate_s=settings.stale_while_revalidate_s,
            offline=settings.offline,
        ),
        egress=settings.egress,
        emit=emit,
    )


def _directory(
    source: DirectorySource, settings: Settings, memory_bytes: int, emit: Emit
) -> Repository:
    digests = DigestStore(settings.digests, emit=emit)
    return LocalRepository(
        source.path, name=source.name, digests=digests, memory_bytes=memory_bytes, emit=emit
    )
