"""OSV records parsed: of each, what decides whether a version of a project on PyPI is affected.

Follows the OSV schema 1.7. Its fields that say nothing about that (texts, severity) are ignored.
"""

import re
from collections.abc import Iterator

import msgspec

from simple_repository_server.errors import InvalidName, Malformed
from simple_repository_server.names import ProjectName

_ECOSYSTEM = "pypi"
#: Types of ranges whose events name versions; those of type GIT name commits, and do not count.
_EVALUATED = ("ECOSYSTEM", "SEMVER")
_ID = re.compile(r"[A-Za-z0-9][\w.:+-]{0,99}", re.ASCII)
_MALICIOUS = "MAL-"
#: Versions and events of one record: no project has so many, and matching them would take seconds.
_MAX_VERSIONS = 20_000


class Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One event of a range; the fields that are not given are None."""

    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


Range = tuple[Event, ...]


class Advisory(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a record says about one project."""

    id: str
    #: Identifiers of the same vulnerability in other databases.
    aliases: tuple[str, ...] = ()
    #: Of two records with one id the later counts. RFC 3339, in UTC.
    modified: str = ""
    #: A withdrawn record does not count; it is stored as it may replace an earlier state.
    withdrawn: bool = False
    #: An entry has neither versions nor ranges that count: if the record is a malicious one it
    #: affects every version by that, else none.
    unspecific: bool = False
    #: Affected versions as the record spells them.
    versions: tuple[str, ...] = ()
    #: Ranges of type ECOSYSTEM or SEMVER, their events as the record orders them.
    ranges: tuple[Range, ...] = ()

    @property
    def matches_nothing(self) -> bool:
        """Whether it affects no version although it is not withdrawn."""
        if self.withdrawn or self.versions or self.ranges:
            return False
        return not any(map(is_malicious_id, self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """Its id and its aliases, as the record gives them."""
        return self.id, *self.aliases


def is_malicious_id(text: str) -> bool:
    """Whether an id is one of the database of malicious packages."""
    return text.startswith(_MALICIOUS)


class _RangeIn(msgspec.Struct, gc=False):
    type: str
    events: list[Event] | None = None


class _PackageIn(msgspec.Struct, gc=False):
    ecosystem: str
    name: str


class _AffectedIn(msgspec.Struct, gc=False):
    package: _PackageIn | None = None
    ranges: list[_RangeIn] | None = None
    versions: list[str] | None = None


class _RecordIn(msgspec.Struct, gc=False):
    id: str
    modified: str = ""
    withdrawn: str | None = None
    aliases: list[str] | None = None
    affected: list[_AffectedIn] | None = None


_DECODER = msgspec.json.Decoder(_RecordIn)


class ForeignRecord(Malformed):
    """A record that is only about other ecosystems; `ecosystem` is the first of them."""

    def __init__(self, ecosystem: str) -> None:
        super().__init__(f"it is about {ecosystem[:40]!r}, not about PyPI")
        self.ecosystem = ecosystem[:40]


def parse_record(content: bytes) -> dict[ProjectName, Advisory]:
    """What the OSV record says about projects on PyPI; nothing if it names no package at all.

    Raises `ForeignRecord` if it names packages of other ecosystems only, else `Malformed` with the
    reason if it is not JSON, or not a record, or names more than 20,000 versions.
    """
    try:
        record = _DECODER.decode(content)
    except msgspec.ValidationError as error:
        raise Malformed(f"it is no OSV record: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"it is not JSON: {error}") from error
    if not _ID.fullmatch(record.id):
        raise Malformed(f"its id {record.id[:80]!r} is invalid")
    affected = [one for one in record.affected or () if one.package is not None]
    ours = list(_of_pypi(affected))
    if affected and not ours:
        assert affected[0].package is not None
        raise ForeignRecord(affected[0].package.ecosystem)
    if sum(_size(one) for _, one in ours) > _MAX_VERSIONS:
        raise Malformed(f"it names more than {_MAX_VERSIONS} versions")
    projects: dict[ProjectName, list[_AffectedIn]] = {}
    for name, one in ours:
        projects.setdefault(name, []).append(one)
    return {name: _advisory(record, entries) for name, entries in projects.items()}


def _of_pypi(affected: list[_AffectedIn]) -> Iterator[tuple[ProjectName, _AffectedIn]]:
    for one in affected:
        package = one.package
        if package is not None and package.ecosystem.lower() == _ECOSYSTEM:
            try:
                yield ProjectName(package.name), one
            except InvalidName as error:
                raise Malformed(f"it names {package.name[:80]!r}, which is no project") from error


def _advisory(record: _RecordIn, entries: list[_AffectedIn]) -> Advisory:
    ranges = [_evaluated(entry) for entry in entries]
    return Advisory(
        id=record.id,
        aliases=tuple(filter(_ID.fullmatch, record.aliases or ())),
        modified=record.modified,
        withdrawn=bool(record.withdrawn),
        unspecific=any(
            not some and not entry.versions for some, entry in zip(ranges, entries, strict=True)
        ),
        versions=tuple([v for entry in entries for v in entry.versions or ()]),
        ranges=tuple([tuple(one.events or ()) for some in ranges for one in some]),
    )


def _size(entry: _AffectedIn) -> int:
    ranges = sum(len(one.events or ()) for one in _evaluated(entry))
    return len(entry.versions or ()) + ranges


def _evaluated(entry: _AffectedIn) -> list[_RangeIn]:
    return [one for one in entry.ranges or () if one.type in _EVALUATED]
