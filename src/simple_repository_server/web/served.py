"""What a server serves at one time: its indexes, and whom it answers."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

import msgspec

from simple_repository_server.model import FilesMode
from simple_repository_server.repository import Repository
from simple_repository_server.web.hosts import HostRule

#: What stands directly below the root, and can be no index's name.
RESERVED_NAMES = frozenset(
    {"simple", "resources", "why", "snapshot", "healthz", "readyz", "metrics"}
)
#: What has a meaning of its own in a URL, or in the template of a route.
_NOT_IN_NAMES = frozenset("/?#%{}\\")
_NOTHING: Mapping[str, "PastStates"] = MappingProxyType({})


class PastStates(Protocol):
    """The past states of an index: `policy.snapshots.Snapshots` is one."""

    def at(self, moment: datetime) -> Repository:
        """The index as it was at that time; the same object while it is in memory."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The indexes of a server, and how it answers for them.

    Raises `ValueError` for a name that no index can have, and for past states of no index.
    """

    #: The index at `/simple/`.
    default: Repository
    #: Further indexes by name, each at `/NAME/simple/`; the default one may be among them.
    indexes: Mapping[str, Repository] = MappingProxyType({})
    #: Past states by the name of the index, at `/NAME/snapshot/DATE/simple/`; "" is the default.
    snapshots: Mapping[str, PastStates] = _NOTHING
    #: How clients get remote files.
    files: FilesMode = FilesMode.REDIRECT
    #: Which hosts requests may name; None: any.
    hosts: HostRule | None = None

    def __post_init__(self) -> None:
        for name in self.indexes:
            check_index_name(name)
        unknown = [name for name in self.snapshots if name and name not in self.indexes]
        if unknown:
            raise ValueError(f"There are snapshots of {unknown[0]!r}, which is not an index.")


def check_index_name(name: str) -> None:
    """Raise `ValueError` unless an index may have that name."""
    if name in RESERVED_NAMES:
        raise ValueError(f"An index cannot be called {name!r}: that path has another meaning.")
    if not name or not name.isprintable() or not _NOT_IN_NAMES.isdisjoint(name):
        raise ValueError(f"{name!r} cannot be the name of an index: it is one segment of a path.")


def prefix_of(name: str, default: str) -> str:
    """The prefix of the index of that name, where that of the default one is `…/simple/`.

    Raises `ValueError` if it is another one, or for a name that no index can have.
    """
    check_index_name(name)
    if not default.endswith("/simple/"):
        raise ValueError(f"Beside {default!r} there can be no other index; end it in '/simple/'.")
    return f"{default.removesuffix('simple/')}{name}/simple/"
