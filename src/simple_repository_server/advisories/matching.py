"""Which advisories affect which versions of a project: the evaluation of the OSV schema, for PyPI.

Versions are compared as PEP 440 says, also in ranges of type SEMVER: no version on PyPI has another
order. All versions that the records of a project name are sorted once; a version is then found
among them by bisection, and what affects it is looked up. Where a record leaves a question open the
answer is the safe one: affected.

* A version that PEP 440 does not know has no place in an order: it is affected if a record lists
  it, as it is spelt, and by every record with a range.
* Of an event whose version PEP 440 does not know, `introduced` counts as the first version, and
  the others, which would end the range, do not count.
* A range without `introduced` begins at the first version.
* A local label (`2.5.1+cu124`) does not count, unless the records name one of that release.
* A record without versions and ranges affects nothing, as the schema says; one about a malicious
  package affects every version.
* Of events at one version the order is that of the record.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
from packaging.utils import canonicalize_version
from packaging.version import Version

from simple_repository_server.advisories.records import Advisory, Event, Range, is_malicious_id
from simple_repository_server.distributions.filenames import parse_version

_FIRST = "0"
_INFINITY = "*"
#: What an object of Python takes, about.
_OBJECT_BYTES = 100


class Affecting(msgspec.Struct, frozen=True, kw_only=True):
    """An advisory that counts, and what the records of its project say about it together."""

    #: Without its versions and ranges, which are in `ProjectAdvisories`.
    advisory: Advisory
    #: Its id and all its aliases, which are symmetric and transitive.
    names: frozenset[str]
    malicious: bool
    #: It affects every version, as it names none.
    affects_all: bool = False
    #: The versions that fix it, oldest first.
    fixed: tuple[Version, ...] = ()

    def fixed_after(self, version: Version | None) -> Version | None:
        """The first later version that fixes it; None if none is known."""
        if version is None:
            return None
        return next((fixed for fixed in self.fixed if fixed > version), None)


class ProjectAdvisories:
    """The advisories of one project, ready to be matched. Immutable.

    Withdrawn records do not count; of several records with one id the last modified one does.
    """

    def __init__(self, advisories: Iterable[Advisory] = ()) -> None:
        counting, withdrawn = _latest(advisories)
        self._bounds = _bounds(counting)
        self._with_labels = {bound.public for bound in self._bounds if bound.local}
        self._listed: dict[str, list[int]] = defaultdict(list)
        self._unordered: list[int] = []
        self._at: list[list[int]] = [[] for _ in range(2 * len(self._bounds) + 1)]
        counted = sorted(
            _counted(counting, withdrawn), key=lambda one: (not one.malicious, one.advisory.id)
        )
        # Hundreds of records list the same versions.
        canonical: dict[str, str] = {}
        for number, one in enumerate(counted):
            self._enter(number, one, canonical)
        #: Those that affect something: malicious ones first, then by id.
        self.all = tuple([self._with_fixes(number, one) for number, one in enumerate(counted)])
        self._fixes = {
            canonicalize_version(v) for one in self.all if not one.malicious for v in one.fixed
        }

    @property
    def weight(self) -> int:
        """How many bytes of memory it takes, approximately."""
        cells = sum(map(len, self._at)) + sum(map(len, self._listed.values()))
        objects = len(self._bounds) * 8 + len(self._listed) * 2 + len(self.all) * 10
        return _OBJECT_BYTES * (objects + 5) + 8 * cells

    def affecting(self, version: Version | None, text: str | None = None) -> tuple[Affecting, ...]:
        """What affects a version: malicious ones first, then by id.

        `version` is None if PEP 440 does not know it; then `text` is as it is spelt, or None if not
        even that is known: then everything affects it.
        """
        if version is None:
            if text is None:
                return self.all
            numbers = {*self._unordered, *self._listed.get(text, ())}
        else:
            numbers = self._numbers(version)
        return tuple([self.all[number] for number in sorted(numbers)])

    def fixes(self, version: Version) -> bool:
        """Whether the version fixes an advisory, and is not known to be malicious."""
        texts = canonicalize_version(version), canonicalize_version(version.public)
        if self._fixes.isdisjoint(texts):
            return False
        return not any(one.malicious for one in self.affecting(version))

    def _numbers(self, version: Version) -> set[int]:
        """The positions in `all` of what affects the version."""
        listed = self._listed.get(canonicalize_version(version), ())
        numbers = {*self._at[self._place(version)], *listed}
        if version.local:
            numbers.update(self._listed.get(canonicalize_version(version.public), ()))
        return numbers

    def _with_fixes(self, number: int, one: Affecting) -> Affecting:
        """With the versions that fix it: of those it names, the ones it does not affect."""
        named = _fixed(one.advisory)
        fixed = tuple([version for version in named if number not in self._numbers(version)])
        advisory = msgspec.structs.replace(one.advisory, versions=(), ranges=())
        return msgspec.structs.replace(one, advisory=advisory, fixed=fixed)

    def _place(self, version: Version) -> int:
        """Between which bounds the version lies: 2n below the bound n, 2n + 1 if it is the same."""
        if version.local and version.public not in self._with_labels:
            version = Version(version.public)
        return _place(self._bounds, version)

    def _enter(self, number: int, one: Affecting, canonical: dict[str, str]) -> None:
        advisory = one.advisory
        for text in advisory.versions:
            if text not in canonical:
                version = parse_version(text)
                canonical[text] = text if version is None else canonicalize_version(version)
            self._listed[canonical[text]].append(number)
        affected = set()
        for events in advisory.ranges:
            affected.update(_places(events, self._bounds))
        if one.affects_all:
            affected.update(range(len(self._at)))
        for place in affected:
            self._at[place].append(number)
        if one.affects_all or advisory.ranges:
            self._unordered.append(number)


def _latest(advisories: Iterable[Advisory]) -> tuple[list[Advisory], set[str]]:
    """The advisories that count, and the ids of those that are withdrawn."""
    latest: dict[str, Advisory] = {}
    for advisory in advisories:
        known = latest.get(advisory.id)
        if known is None or known.modified < advisory.modified:
            latest[advisory.id] = advisory
    counting = [advisory for advisory in latest.values() if not advisory.withdrawn]
    return counting, {advisory.id for advisory in latest.values() if advisory.withdrawn}


def _counted(advisories: Sequence[Advisory], withdrawn: set[str]) -> Iterable[Affecting]:
    """Of these advisories, none of which is withdrawn, those that affect something."""
    for advisory, names in zip(advisories, _names(advisories), strict=True):
        own = set(advisory.names) - withdrawn
        affects_all = advisory.unspecific and any(map(is_malicious_id, own))
        if affects_all or advisory.versions or advisory.ranges:
            malicious = any(map(is_malicious_id, names - withdrawn))
            yield Affecting(
                advisory=advisory, names=names, malicious=malicious, affects_all=affects_all
            )


def _names(advisories: Sequence[Advisory]) -> list[frozenset[str]]:
    """All names of each: its own, and those of the others with which it shares one."""
    groups: dict[str, set[str]] = {}
    for advisory in advisories:
        own = set(advisory.names)
        joined = own.union(*(groups[name] for name in own if name in groups))
        for name in joined:
            groups[name] = joined
    return [frozenset(groups[advisory.id]) for advisory in advisories]


def _bounds(advisories: Iterable[Advisory]) -> list[Version]:
    texts = {
        text
        for advisory in advisories
        for events in advisory.ranges
        for event in events
        for text in (event.introduced, event.fixed, event.last_affected, event.limit)
        if text is not None
    }
    ordered = sorted(version for text in texts if (version := parse_version(text)))
    # Different spellings of one version are one bound.
    return [one for n, one in enumerate(ordered) if n == 0 or one != ordered[n - 1]]


def _fixed(advisory: Advisory) -> tuple[Version, ...]:
    texts = {event.fixed for events in advisory.ranges for event in events if event.fixed}
    return tuple(sorted(version for text in texts if (version := parse_version(text))))


def _place(bounds: list[Version], version: Version) -> int:
    number = bisect_left(bounds, version)
    return 2 * number + (number < len(bounds) and bounds[number] == version)


def _places(events: Range, bounds: list[Version]) -> set[int]:
    """The places whose versions a range affects: `IncludedInRanges` of the schema."""
    end = 2 * len(bounds) + 1
    limits = [_limit(event.limit, bounds, end) for event in events if event.limit is not None]
    changes = [change for event in events for change in _changes(event, bounds)]
    if not any(affected for _, affected in changes):
        changes.insert(0, (0, True))
    affected: set[int] = set()
    since: int | None = None
    for place, becomes in sorted(changes, key=lambda change: change[0]):
        if becomes and since is None:
            since = place
        elif not becomes and since is not None:
            affected.update(range(since, place))
            since = None
    if since is not None:
        affected.update(range(since, end))
    before = max(limits, default=end)
    return {place for place in affected if place < before}


def _changes(event: Event, bounds: list[Version]) -> Iterable[tuple[int, bool]]:
    """From which places on versions are affected, or no longer, because of an event."""
    if event.introduced is not None:
        version = None if event.introduced == _FIRST else parse_version(event.introduced)
        yield (0 if version is None else _place(bounds, version)), True
    if event.fixed is not None and (version := parse_version(event.fixed)):
        yield _place(bounds, version), False
    if event.last_affected is not None and (version := parse_version(event.last_affected)):
        yield _place(bounds, version) + 1, False


def _limit(text: str, bounds: list[Version], end: int) -> int:
    version = None if _INFINITY in text else parse_version(text)
    return end if version is None else _place(bounds, version)
