"""From settings to a running application: the only file that knows all the parts.

The order of the wrappers, outermost first: metadata → priority → the sources as given.
"""

from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.config.settings import IndexSource, Settings, Source
from simple_repository_server.observe.events import Emit
from simple_repository_server.repository import Repository
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.sources.local import LocalRepository
from simple_repository_server.storage.digests import DigestStore
from simple_repository_server.transforms.metadata import MetadataInjectorRepository
from simple_repository_server.upstream.credentials import Credentials
from simple_repository_server.web.exchange import AsgiApp
from simple_repository_server.web.files import FilesMode
from simple_repository_server.web.index import IndexApp
from simple_repository_server.wire.urls import origin_of


def build_app(settings: Settings, emit: Emit) -> AsgiApp:
    """The ASGI application for the settings."""
    return IndexApp(
        build_repository(settings, emit),
        files=FilesMode.STREAM if settings.stream else FilesMode.REDIRECT,
        memory_bytes=settings.memory_bytes // 2,
        emit=emit,
    )


def build_repository(settings: Settings, emit: Emit) -> Repository:
    """The repository for the settings: half of the memory is for it, half for rendered pages."""
    of_source = settings.memory_bytes * 3 // 8 // len(settings.sources)
    sources = [_source(source, settings, of_source, emit) for source in settings.sources]
    combined = sources[0] if len(sources) == 1 else PrioritySelectedProjectsRepository(sources)
    return MetadataInjectorRepository(combined, memory_bytes=settings.memory_bytes // 12, emit=emit)


def _source(source: Source, settings: Settings, memory_bytes: int, emit: Emit) -> Repository:
    if isinstance(source, IndexSource):
        credentials = None
        if source.user is not None:
            origin = origin_of(source.url)
            credentials = Credentials(origin, source.user, source.password or "")
        return HttpRepository(
            source.url,
            credentials=credentials,
            forbidden_means_absent=source.forbidden_means_absent,
            memory_bytes=memory_bytes,
            emit=emit,
        )
    digests = DigestStore(settings.digests, emit=emit)
    return LocalRepository(source.path, digests=digests, memory_bytes=memory_bytes, emit=emit)
