"""A Python package index made of composable parts.

The names below are the library's front; each is loaded when it is first used, so that importing
the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from simple_repository_server.version import __version__

if TYPE_CHECKING:
    from simple_repository_server.cache.files import FileCache
    from simple_repository_server.cache.policy import CachePolicy
    from simple_repository_server.cache.snapshots import SnapshotMemo
    from simple_repository_server.combine.merged import MergedRepository
    from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
    from simple_repository_server.disk.folder import CacheFolder
    from simple_repository_server.disk.metadata_store import MetadataStore
    from simple_repository_server.distributions.filenames import versions_of
    from simple_repository_server.errors import (
        InvalidName,
        Malformed,
        NotAcceptable,
        NotFound,
        ProjectNotFound,
        RepositoryError,
        ResourceNotFound,
        SourceInvalid,
        SourceTimeout,
        SourceUnavailable,
        TransferAborted,
    )
    from simple_repository_server.model import (
        NO_CONTEXT,
        File,
        FilesMode,
        Freshness,
        ProjectList,
        ProjectPage,
        ProjectStatus,
        RequestContext,
        SourceState,
        Status,
    )
    from simple_repository_server.names import FileName, ProjectName
    from simple_repository_server.observe.events import Emit, Event
    from simple_repository_server.observe.to_logging import log_to
    from simple_repository_server.repository import Repository, RepositoryContainer
    from simple_repository_server.resource import (
        Body,
        ByteRange,
        BytesResource,
        PathResource,
        Resource,
    )
    from simple_repository_server.sources.http import HttpRepository
    from simple_repository_server.sources.local import LocalRepository
    from simple_repository_server.sources.local_facts import DigestStore
    from simple_repository_server.sources.memory import MemoryRepository
    from simple_repository_server.transforms.file_cache import FileCacheRepository
    from simple_repository_server.transforms.filter import AllowListRepository, DenyListRepository
    from simple_repository_server.transforms.metadata import MetadataInjectorRepository
    from simple_repository_server.upstream.client import Limits
    from simple_repository_server.upstream.credentials import Credentials, netrc_credentials
    from simple_repository_server.upstream.egress import Egress, egress_from
    from simple_repository_server.web.app import create_app
    from simple_repository_server.web.router import build_router

__all__ = [
    "AllowListRepository",
    "Body",
    "ByteRange",
    "BytesResource",
    "Credentials",
    "DenyListRepository",
    "DigestStore",
    "CacheFolder",
    "Egress",
    "Emit",
    "Event",
    "File",
    "FileCache",
    "FileCacheRepository",
    "FileName",
    "FilesMode",
    "Freshness",
    "HttpRepository",
    "InvalidName",
    "Limits",
    "LocalRepository",
    "Malformed",
    "MemoryRepository",
    "MergedRepository",
    "MetadataInjectorRepository",
    "MetadataStore",
    "NO_CONTEXT",
    "NotAcceptable",
    "NotFound",
    "PathResource",
    "PrioritySelectedProjectsRepository",
    "ProjectList",
    "ProjectName",
    "ProjectNotFound",
    "ProjectPage",
    "ProjectStatus",
    "Repository",
    "RepositoryContainer",
    "RepositoryError",
    "RequestContext",
    "Resource",
    "ResourceNotFound",
    "CachePolicy",
    "SnapshotMemo",
    "SourceInvalid",
    "SourceState",
    "SourceTimeout",
    "SourceUnavailable",
    "Status",
    "TransferAborted",
    "__version__",
    "build_router",
    "create_app",
    "egress_from",
    "log_to",
    "netrc_credentials",
    "versions_of",
]

#: The module each name lives in.
_HOMES = {
    "AllowListRepository": "transforms.filter",
    "Body": "resource",
    "ByteRange": "resource",
    "BytesResource": "resource",
    "Credentials": "upstream.credentials",
    "DenyListRepository": "transforms.filter",
    "DigestStore": "sources.local_facts",
    "CacheFolder": "disk.folder",
    "Egress": "upstream.egress",
    "Emit": "observe.events",
    "Event": "observe.events",
    "File": "model",
    "FileCache": "cache.files",
    "FileCacheRepository": "transforms.file_cache",
    "FileName": "names",
    "FilesMode": "model",
    "Freshness": "model",
    "HttpRepository": "sources.http",
    "InvalidName": "errors",
    "Limits": "upstream.client",
    "LocalRepository": "sources.local",
    "Malformed": "errors",
    "MemoryRepository": "sources.memory",
    "MergedRepository": "combine.merged",
    "MetadataInjectorRepository": "transforms.metadata",
    "MetadataStore": "disk.metadata_store",
    "NO_CONTEXT": "model",
    "NotAcceptable": "errors",
    "NotFound": "errors",
    "PathResource": "resource",
    "PrioritySelectedProjectsRepository": "combine.priority",
    "ProjectList": "model",
    "ProjectName": "names",
    "ProjectNotFound": "errors",
    "ProjectPage": "model",
    "ProjectStatus": "model",
    "Repository": "repository",
    "RepositoryContainer": "repository",
    "RepositoryError": "errors",
    "RequestContext": "model",
    "Resource": "resource",
    "ResourceNotFound": "errors",
    "CachePolicy": "cache.policy",
    "SnapshotMemo": "cache.snapshots",
    "SourceInvalid": "errors",
    "SourceState": "model",
    "SourceTimeout": "errors",
    "SourceUnavailable": "errors",
    "Status": "model",
    "TransferAborted": "errors",
    "build_router": "web.router",
    "create_app": "web.app",
    "egress_from": "upstream.egress",
    "log_to": "observe.to_logging",
    "netrc_credentials": "upstream.credentials",
    "versions_of": "distributions.filenames",
}


def __getattr__(name: str) -> object:
    """The public name, from the module it lives in (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return list(__all__)
