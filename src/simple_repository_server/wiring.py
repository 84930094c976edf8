"""From settings to a running application: the only file that knows all the parts.

The order of the wrappers, outermost first: metadata → priority → files on disk → the sources.
"""

from simple_repository_server.cache.disk import DiskCache
from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.metadata import MetadataStore
from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.config.settings import DirectorySource, IndexSource, Settings
from simple_repository_server.observe.events import Emit
from simple_repository_server.repository import Repository
from simple_repository_server.sources.local import LocalRepository
from simple_repository_server.storage.digests import DigestStore
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.transforms.metadata import MetadataInjectorRepository
from simple_repository_server.upstream.credentials import Credentials
from simple_repository_server.web.files import FilesMode
from simple_repository_server.web.index import IndexApp
from simple_repository_server.wire.urls import origin_of


def build_app(settings: Settings, emit: Emit) -> IndexApp:
    """The ASGI application for the settings."""
    return IndexApp(
        build_repository(settings, emit),
        files=FilesMode(settings.files),
        memory_bytes=settings.memory_bytes // 2,
        small_file_bytes=settings.small_file_bytes,
        emit=emit,
    )


def build_repository(settings: Settings, emit: Emit) -> Repository:
    """The repository for the settings: half of the memory is for it, half for rendered pages."""
    disk = None
    if settings.cache is not None:
        disk = DiskCache(settings.cache, max_bytes=settings.cache_bytes, emit=emit)
    files = FileCache(disk, emit=emit) if disk and settings.files != FilesMode.STREAM else None
    of_source = settings.memory_bytes * 3 // 8 // len(settings.sources)
    sources: list[Repository] = []
    for source in settings.sources:
        if isinstance(source, IndexSource):
            index: Repository = _index(source, settings, of_source, disk, emit)
            if files:
                index = FileCacheRepository(index, files, only_kept=settings.offline)
            sources.append(index)
        else:
            sources.append(_directory(source, settings, of_source, emit))
    combined = (
        sources[0] if len(sources) == 1 else PrioritySelectedProjectsRepository(sources, emit=emit)
    )
    return MetadataInjectorRepository(
        combined,
        memory_bytes=settings.memory_bytes // 12,
        store=MetadataStore(disk) if disk else None,
        emit=emit,
    )


def _index(
    source: IndexSource, settings: Settings, memory_bytes: int, disk: DiskCache | None, emit: Emit
) -> Repository:
    from simple_repository_server.sources.http import HttpRepository  # slow to import
    from simple_repository_server.sources.http_documents import Rules

    credentials = None
    if source.user is not None:
        origin = origin_of(source.url)
        credentials = Credentials(origin, source.user, source.password or "")
    return HttpRepository(
        source.url,
        credentials=credentials,
        forbidden_means_absent=source.forbidden_means_absent,
        memory_bytes=memory_bytes,
        cache=disk,
        rules=Rules(
            stale_if_error_s=settings.stale_if_error_s,
            grace_s=settings.stale_while_revalidate_s,
            offline=settings.offline,
        ),
        emit=emit,
    )


def _directory(
    source: DirectorySource, settings: Settings, memory_bytes: int, emit: Emit
) -> Repository:
    digests = DigestStore(settings.digests, emit=emit)
    return LocalRepository(source.path, digests=digests, memory_bytes=memory_bytes, emit=emit)
