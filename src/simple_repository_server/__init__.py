"""A Python package index made of composable parts.

The names below are the library's front; each is loaded when it is first used, so that importing
the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from simple_repository_server.version import __version__

if TYPE_CHECKING:
    from simple_repository_server.cache.disk import DiskCache
    from simple_repository_server.cache.files import FileCache
    from simple_repository_server.cache.metadata import MetadataStore
    from simple_repository_server.cache.policy import Rules
    from simple_repository_server.combine.merged import MergedRepository
    from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
    from simple_repository_server.names import FileName, ProjectName
    from simple_repository_server.repository import Repository, RepositoryContainer
    from simple_repository_server.sources.http import HttpRepository
    from simple_repository_server.sources.local import LocalRepository
    from simple_repository_server.sources.memory import MemoryRepository
    from simple_repository_server.transforms.file_cache import FileCacheRepository
    from simple_repository_server.transforms.filter import AllowListRepository, DenyListRepository
    from simple_repository_server.transforms.metadata import MetadataInjectorRepository
    from simple_repository_server.web.app import create_app
    from simple_repository_server.web.files import FilesMode
    from simple_repository_server.web.router import build_router

__all__ = [
    "AllowListRepository",
    "DenyListRepository",
    "DiskCache",
    "FileCache",
    "FileCacheRepository",
    "FileName",
    "FilesMode",
    "HttpRepository",
    "LocalRepository",
    "MemoryRepository",
    "MergedRepository",
    "MetadataInjectorRepository",
    "MetadataStore",
    "PrioritySelectedProjectsRepository",
    "ProjectName",
    "Repository",
    "RepositoryContainer",
    "Rules",
    "__version__",
    "build_router",
    "create_app",
]

_HOMES = {
    "AllowListRepository": "transforms.filter",
    "DenyListRepository": "transforms.filter",
    "DiskCache": "cache.disk",
    "FileCache": "cache.files",
    "FileCacheRepository": "transforms.file_cache",
    "FileName": "names",
    "FilesMode": "web.files",
    "HttpRepository": "sources.http",
    "LocalRepository": "sources.local",
    "MemoryRepository": "sources.memory",
    "MergedRepository": "combine.merged",
    "MetadataInjectorRepository": "transforms.metadata",
    "MetadataStore": "cache.metadata",
    "PrioritySelectedProjectsRepository": "combine.priority",
    "ProjectName": "names",
    "Repository": "repository",
    "RepositoryContainer": "repository",
    "Rules": "cache.policy",
    "build_router": "web.router",
    "create_app": "web.app",
}


def __getattr__(name: str) -> object:
    """The public name, from the module it lives in (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
