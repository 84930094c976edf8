"""A Python package index made of composable parts.

The names below are the library's front; each is loaded when it is first used, so that importing
the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from simple_repository_server.version import __version__

if TYPE_CHECKING:
    from simple_repository_server.adapters.simple_repository import (
        from_simple_repository,
        to_simple_repository,
    )
    from simple_repository_server.advisories.advisories import Advisories
    from simple_repository_server.cache.files import FileCache
    from simple_repository_server.cache.policy import CachePolicy
    from simple_repository_server.cache.snapshots import SnapshotMemo
    from simple_repository_server.combine.merged import MergedRepository
    from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
    from simple_repository_server.combine.routed import RoutedRepository
    from simple_repository_server.disk.folder import CacheFolder
    from simple_repository_server.disk.metadata_store import MetadataStore
    from simple_repository_server.distributions.filenames import versions_of
    from simple_repository_server.errors import (
        HiddenByRule,
        InvalidName,
        Malformed,
        NotAcceptable,
        NotFound,
        ProjectNotFound,
        RepositoryError,
        ResourceNotFound,
        RuleUnavailable,
        SourceInvalid,
        SourceTimeout,
        SourceUnavailable,
        TransferAborted,
    )
    from simple_repository_server.explanation import Answered, Explanation, HiddenFile
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
    from simple_repository_server.observe.audit_log import AuditLog
    from simple_repository_server.observe.events import Emit, Event
    from simple_repository_server.observe.to_logging import log_to
    from simple_repository_server.policy.advisory_rule import AdvisoryRule
    from simple_repository_server.policy.age import FastLane, MinimumAgeRule
    from simple_repository_server.policy.allow import AllowRule
    from simple_repository_server.policy.deny import DenyRule
    from simple_repository_server.policy.file_kind_rule import FileKindRule
    from simple_repository_server.policy.file_kinds import FileKind
    from simple_repository_server.policy.first_seen import FirstSeen
    from simple_repository_server.policy.freeze import FreezeRule
    from simple_repository_server.policy.page_view import PageView
    from simple_repository_server.policy.patterns import Patterns
    from simple_repository_server.policy.pre_releases import PreReleaseRule
    from simple_repository_server.policy.quarantine import QuarantineOverlay
    from simple_repository_server.policy.repository import RuleRepository
    from simple_repository_server.policy.reserved import ReservedNamesRepository
    from simple_repository_server.policy.rule import Hidden, Outcome, Rule
    from simple_repository_server.policy.scope import Scope
    from simple_repository_server.policy.snapshots import Snapshots
    from simple_repository_server.policy.status_overlay import StatusOverlay
    from simple_repository_server.policy.undated import Undated
    from simple_repository_server.policy.yank_file_overlay import YankFileOverlay
    from simple_repository_server.policy.yank_overlay import YankOverlay
    from simple_repository_server.policy.yanked import YankedRule
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
    from simple_repository_server.transforms.fields import (
        PageField,
        PrivateMetadataRepository,
        StrippedFieldsRepository,
    )
    from simple_repository_server.transforms.file_cache import FileCacheRepository
    from simple_repository_server.transforms.filter import AllowListRepository, DenyListRepository
    from simple_repository_server.transforms.metadata import MetadataInjectorRepository
    from simple_repository_server.transforms.renamed import RenamedProjectsRepository
    from simple_repository_server.upstream.client import Limits
    from simple_repository_server.upstream.credentials import Credentials, netrc_credentials
    from simple_repository_server.upstream.egress import Egress, egress_from
    from simple_repository_server.web.app import create_app
    from simple_repository_server.web.router import build_router

__all__ = [
    "Advisories",
    "AdvisoryRule",
    "AllowListRepository",
    "AllowRule",
    "Answered",
    "AuditLog",
    "Body",
    "ByteRange",
    "BytesResource",
    "CacheFolder",
    "CachePolicy",
    "Credentials",
    "DenyListRepository",
    "DenyRule",
    "DigestStore",
    "Egress",
    "Emit",
    "Event",
    "Explanation",
    "FastLane",
    "File",
    "FileCache",
    "FileCacheRepository",
    "FileKind",
    "FileKindRule",
    "FileName",
    "FilesMode",
    "FirstSeen",
    "FreezeRule",
    "Freshness",
    "Hidden",
    "HiddenByRule",
    "HiddenFile",
    "HttpRepository",
    "InvalidName",
    "Limits",
    "LocalRepository",
    "Malformed",
    "MemoryRepository",
    "MergedRepository",
    "MetadataInjectorRepository",
    "MetadataStore",
    "MinimumAgeRule",
    "NO_CONTEXT",
    "NotAcceptable",
    "NotFound",
    "Outcome",
    "PageField",
    "PageView",
    "PathResource",
    "Patterns",
    "PreReleaseRule",
    "PrioritySelectedProjectsRepository",
    "PrivateMetadataRepository",
    "ProjectList",
    "ProjectName",
    "ProjectNotFound",
    "ProjectPage",
    "ProjectStatus",
    "QuarantineOverlay",
    "RenamedProjectsRepository",
    "Repository",
    "RepositoryContainer",
    "RepositoryError",
    "RequestContext",
    "ReservedNamesRepository",
    "Resource",
    "ResourceNotFound",
    "RoutedRepository",
    "Rule",
    "RuleRepository",
    "RuleUnavailable",
    "Scope",
    "SnapshotMemo",
    "Snapshots",
    "SourceInvalid",
    "SourceState",
    "SourceTimeout",
    "SourceUnavailable",
    "Status",
    "StatusOverlay",
    "StrippedFieldsRepository",
    "TransferAborted",
    "Undated",
    "YankFileOverlay",
    "YankOverlay",
    "YankedRule",
    "__version__",
    "build_router",
    "create_app",
    "egress_from",
    "from_simple_repository",
    "log_to",
    "netrc_credentials",
    "to_simple_repository",
    "versions_of",
]

#: The module each name lives in.
_HOMES = {
    "Advisories": "advisories.advisories",
    "AdvisoryRule": "policy.advisory_rule",
    "AllowListRepository": "transforms.filter",
    "AllowRule": "policy.allow",
    "Answered": "explanation",
    "AuditLog": "observe.audit_log",
    "Body": "resource",
    "ByteRange": "resource",
    "BytesResource": "resource",
    "CacheFolder": "disk.folder",
    "CachePolicy": "cache.policy",
    "Credentials": "upstream.credentials",
    "DenyListRepository": "transforms.filter",
    "DenyRule": "policy.deny",
    "DigestStore": "sources.local_facts",
    "Egress": "upstream.egress",
    "Emit": "observe.events",
    "Event": "observe.events",
    "Explanation": "explanation",
    "FastLane": "policy.age",
    "File": "model",
    "FileCache": "cache.files",
    "FileCacheRepository": "transforms.file_cache",
    "FileKind": "policy.file_kinds",
    "FileKindRule": "policy.file_kind_rule",
    "FileName": "names",
    "FilesMode": "model",
    "FirstSeen": "policy.first_seen",
    "FreezeRule": "policy.freeze",
    "Freshness": "model",
    "Hidden": "policy.rule",
    "HiddenByRule": "errors",
    "HiddenFile": "explanation",
    "HttpRepository": "sources.http",
    "InvalidName": "errors",
    "Limits": "upstream.client",
    "LocalRepository": "sources.local",
    "Malformed": "errors",
    "MemoryRepository": "sources.memory",
    "MergedRepository": "combine.merged",
    "MetadataInjectorRepository": "transforms.metadata",
    "MetadataStore": "disk.metadata_store",
    "MinimumAgeRule": "policy.age",
    "NO_CONTEXT": "model",
    "NotAcceptable": "errors",
    "NotFound": "errors",
    "Outcome": "policy.rule",
    "PageField": "transforms.fields",
    "PageView": "policy.page_view",
    "PathResource": "resource",
    "Patterns": "policy.patterns",
    "PreReleaseRule": "policy.pre_releases",
    "PrioritySelectedProjectsRepository": "combine.priority",
    "PrivateMetadataRepository": "transforms.fields",
    "ProjectList": "model",
    "ProjectName": "names",
    "ProjectNotFound": "errors",
    "ProjectPage": "model",
    "ProjectStatus": "model",
    "QuarantineOverlay": "policy.quarantine",
    "RenamedProjectsRepository": "transforms.renamed",
    "Repository": "repository",
    "RepositoryContainer": "repository",
    "RepositoryError": "errors",
    "RequestContext": "model",
    "ReservedNamesRepository": "policy.reserved",
    "Resource": "resource",
    "ResourceNotFound": "errors",
    "RoutedRepository": "combine.routed",
    "Rule": "policy.rule",
    "RuleRepository": "policy.repository",
    "RuleUnavailable": "errors",
    "Scope": "policy.scope",
    "SnapshotMemo": "cache.snapshots",
    "Snapshots": "policy.snapshots",
    "SourceInvalid": "errors",
    "SourceState": "model",
    "SourceTimeout": "errors",
    "SourceUnavailable": "errors",
    "Status": "model",
    "StatusOverlay": "policy.status_overlay",
    "StrippedFieldsRepository": "transforms.fields",
    "TransferAborted": "errors",
    "Undated": "policy.undated",
    "YankFileOverlay": "policy.yank_file_overlay",
    "YankOverlay": "policy.yank_overlay",
    "YankedRule": "policy.yanked",
    "build_router": "web.router",
    "create_app": "web.app",
    "egress_from": "upstream.egress",
    "from_simple_repository": "adapters.simple_repository",
    "log_to": "observe.to_logging",
    "netrc_credentials": "upstream.credentials",
    "to_simple_repository": "adapters.simple_repository",
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
