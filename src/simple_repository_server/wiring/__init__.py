"""Builds the application from settings: the only part that knows all components."""

from simple_repository_server.config.settings import Settings
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.observe.events import Emit
from simple_repository_server.repository import Repository
from simple_repository_server.web.hosts import HostRule
from simple_repository_server.web.index import IndexApp
from simple_repository_server.wiring.graph import build_served
from simple_repository_server.wiring.parts import Parts
from simple_repository_server.wiring.sources import RESPONSES, share

__all__ = ["Parts", "build_app", "build_repository", "build_served"]


def build_app(
    settings: Settings,
    emit: Emit,
    *,
    hosts: HostRule | None = None,
    parts: Parts | None = None,
) -> IndexApp:
    """The ASGI application for the settings; `hosts` decides which host names are accepted.

    `parts` holds its components afterwards, for the graph that will replace it.
    """
    served = build_served(settings, emit, parts=parts, hosts=hosts)
    return IndexApp(
        served.default,
        indexes=served.indexes,
        snapshots=served.snapshots,
        files=served.files,
        memory_bytes=share(settings, RESPONSES),
        small_file_bytes=settings.small_file_bytes,
        hosts=hosts,
        debug_headers=settings.debug_headers,
        audit=AuditLog(settings.audit, emit=emit) if settings.audit else None,
        emit=emit,
    )


def build_repository(settings: Settings, emit: Emit) -> Repository:
    """The repository of the default index of the settings."""
    return build_served(settings, emit).default
