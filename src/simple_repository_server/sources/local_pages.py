"""A local project's page, built of the files that are there and of the facts about them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from simple_repository_server.distributions.filenames import versions_of
from simple_repository_server.distributions.metadata import is_whole_archive
from simple_repository_server.errors import ResourceNotFound
from simple_repository_server.model import File, ProjectPage
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.opening import open_regular
from simple_repository_server.resource import PathResource
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import Facts, FileIdentity
from simple_repository_server.sources.local_sidecars import Sidecar

#: A truncated wheel that is younger than this is still being written: it is withheld.
_SETTLED_S = 10.0
#: The same where its metadata file is there, which is written with a distribution or after it.
_SETTLED_WITH_SIDECAR_S = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KnownFiles(msgspec.Struct, frozen=True):
    """A project's files at one moment, and what is known of them, by path."""

    found: tuple[Found, ...]
    identities: Mapping[str, FileIdentity]
    facts: Mapping[str, Facts]
    sidecars: Mapping[str, Sidecar]
    #: Paths of files that are withheld, as they are still being written.
    withheld: frozenset[str]

    @property
    def is_settled(self) -> bool:
        """Whether everything is known, as long as the files do not change."""
        return not self.withheld and all(one.path in self.facts for one in self.found)

    def has_sidecar(self, path: str) -> bool:
        """Whether a metadata file beside the distribution is used."""
        return uses(self.sidecars, path)


class LocalPage(msgspec.Struct):
    """A page, what it was built of, and which scan last confirmed that."""

    page: ProjectPage
    found: tuple[Found, ...]
    identities: Mapping[str, FileIdentity]
    sidecars: Mapping[str, Sidecar]
    is_settled: bool
    root: str
    #: The time of that scan (`LocalDirectory.scanned_at`).
    scanned_at: float = float("-inf")
    #: Those of the files that were requested.
    resources: dict[FileName, PathResource] = msgspec.field(default_factory=dict)

    def holds(self, found: tuple[Found, ...], identities: Mapping[str, FileIdentity]) -> bool:
        """Whether building it of these files would bring out the same page."""
        return self.is_settled and self.found == found and self.identities == identities

    def resource(self, filename: FileName, source: str) -> PathResource:
        """The file of that name, the same object each time. Raises `ResourceNotFound`.

        `source` is the name of the source that has it.
        """
        known = self.resources.get(filename)
        if known is None:
            file = self.page.find(filename)
            if file is None:
                raise ResourceNotFound(self.page.name, filename)
            identity = self.identities[file.url]
            known = self.resources[filename] = PathResource(
                Path(file.url),
                size=identity.size,
                mtime_ns=identity.mtime_ns,
                inode=identity.inode,
                sha256=file.hashes["sha256"],
                root=self.root,
                source=source,
            )
        return known

    def metadata_of(self, filename: FileName) -> "LocalMetadata":
        """The metadata of that file name. Raises `ResourceNotFound`."""
        file = self.page.find(filename.distribution)
        if file is None or isinstance(file.core_metadata, bool):
            raise ResourceNotFound(self.page.name, filename)
        sidecar = self.sidecars.get(file.url)
        is_beside = sidecar is not None and sidecar.sha256 is not None
        return LocalMetadata(file, (file.core_metadata["sha256"], is_beside))


class LocalMetadata(msgspec.Struct, frozen=True, gc=False):
    """The metadata of a file: its sha256, and whether it lies in a file beside it."""

    file: File
    key: tuple[str, bool]


def uses(sidecars: Mapping[str, Sidecar], path: str) -> bool:
    """Whether the metadata file of the distribution at that path is used."""
    sidecar = sidecars.get(path)
    return sidecar is not None and sidecar.sha256 is not None


def build_page(project: ProjectName, known: KnownFiles) -> ProjectPage:
    """The page of the files that can be shown."""
    files = []
    for one in known.found:
        identity, facts = known.identities.get(one.path), known.facts.get(one.path)
        if identity is not None and facts is not None and one.path not in known.withheld:
            files.append(_file(one, identity, facts, known.sidecars.get(one.path)))
    return ProjectPage(
        name=project,
        files=tuple(files),
        versions=versions_of((file.filename for file in files), project),
    )


def withheld(
    facts: Mapping[str, Facts],
    identities: Mapping[str, FileIdentity],
    sidecars: Mapping[str, Sidecar],
    root: str,
    now: float,
) -> frozenset[str]:
    """Those of the files that are apparently still being written; blocks."""
    found = []
    for path, known in facts.items():
        if known.problem is not None:
            settled_s = _SETTLED_WITH_SIDECAR_S if uses(sidecars, path) else _SETTLED_S
            # A modification time in the future does not mean that it was written just now.
            young = abs(now - identities[path].mtime_ns / 1e9) < settled_s
            if young and not _is_whole(path, root):
                found.append(path)
    return frozenset(found)


def _is_whole(path: str, root: str) -> bool:
    try:
        with open_regular(path, root=root) as file:
            return is_whole_archive(file)
    except OSError:
        return False


def _file(found: Found, identity: FileIdentity, facts: Facts, sidecar: Sidecar | None) -> File:
    metadata_sha256, requires_python = facts.metadata_sha256, facts.requires_python
    if sidecar is not None and sidecar.sha256 is not None:
        metadata_sha256, requires_python = sidecar.sha256, sidecar.requires_python
    return File(
        filename=found.filename,
        url=found.path,
        hashes={"sha256": facts.sha256},
        size=identity.size,
        upload_time=_time(identity.mtime_ns),
        requires_python=requires_python,
        core_metadata={"sha256": metadata_sha256} if metadata_sha256 is not None else False,
        inspected=True,
    )


def _time(mtime_ns: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=mtime_ns // 1000)
    except OverflowError:  # beyond the years of `datetime`
        return None
